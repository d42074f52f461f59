"""The exact value of plain arithmetic, as Python or LaTeX writes it."""

import ast
import math
import re
from fractions import Fraction

TEX_FRACTION = r"\\[dt]?frac\{?\s?(-?\d{1,40})\s?\}?\{?\s?(\d{1,40})\s?\}?"
_FRACTION = re.compile(TEX_FRACTION)
_TIMES = re.compile(r"\\(?:cdot|times|div)(?![a-z])")
_ROOT = re.compile(r"(?:\\sqrt\s?\{?|√\(?)\s?(\d{1,15})\s?[})]?")
_FACTORIAL = re.compile(r"(?<![\d.])(\d{1,2})!(?![=!])")
_ARITHMETIC = re.compile(r"[\d.\s()+\-*/^,$]{3,100}")


def arithmetic(text: str) -> Fraction | None:
    """The value of plain arithmetic such as ``3 + 4 * (2 - 1)``; None for anything else."""
    text = text.strip().rstrip(".")
    if "\\" in text or "√" in text or "!" in text:
        text = _plain_operators(text)
    if not _ARITHMETIC.fullmatch(text) or not re.search(r"[\d)]\s{0,3}[+\-*/]\s{0,3}[\d(]", text):
        return None
    code = re.sub(r"(?<=\d),(?=\d{3})", "", text).replace("$", "").replace("^", "**")
    try:
        return _evaluate(ast.parse(code.strip(), mode="eval").body)
    except (SyntaxError, ValueError, ZeroDivisionError, RecursionError, OverflowError):
        return None


def _plain_operators(text: str) -> str:
    """Arithmetic of LaTeX as Python writes it; roots only of squares."""
    text = _TIMES.sub(lambda m: "/" if m.group() == "\\div" else "*", _FRACTION.sub(r"(\1/\2)", text))
    text = _FACTORIAL.sub(lambda m: f"({math.factorial(int(m[1]))}+0)", text)
    return _ROOT.sub(lambda m: f"({math.isqrt(n)}+0)" if math.isqrt(n := int(m[1])) ** 2 == n else m.group(), text)


def _evaluate(node: ast.expr) -> Fraction:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return Fraction(str(node.value))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_evaluate(node.operand)
    if isinstance(node, ast.BinOp):
        left, right = _evaluate(node.left), _evaluate(node.right)
        if isinstance(node.op, ast.Add):
            return left + right
        if isinstance(node.op, ast.Sub):
            return left - right
        if isinstance(node.op, ast.Mult):
            return left * right
        if isinstance(node.op, ast.Div):
            return left / right
        if isinstance(node.op, ast.Pow) and right.denominator == 1 and abs(right) <= 100 and abs(left) < 10**9:
            return left ** int(right)
    raise ValueError
