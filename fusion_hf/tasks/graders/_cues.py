"""Words that announce an answer, in several languages."""

import re

_WORDS = (
    "antwort", "lösung", "respuesta", "réponse", "reponse", "risposta", "resposta", "antwoord", "svar", "svaret",
    "svarið", "odpowiedź", "odpověď", "cevap", "yanıt", "vastaus", "vastus", "válasz", "răspuns", "atsakymas",
    "atbilde", "odgovor", "одговор", "отговор", "ответ", "відповідь", "απάντηση", "jawaban", "jawabannya", "jawapan",
    "sagot", "jibu", "đáp án", "câu trả lời", "תשובה", "الجواب", "الإجابة", "الاجابة", "جواب", "پاسخ",
)  # fmt: skip
# Scripts in which a word need not begin or end at a blank.
_UNSPACED = (
    "答案", "正解", "答え", "回答", "解答", "答", "정답", "답은", "답", "उत्तर", "উত্তর", "பதில்", "జవాబు", "คำตอบ",
    "คําตอบ",
)  # fmt: skip
_ASCII = tuple(word for word in _WORDS if word.isascii())
WORDS = rf"(?:\b(?:{'|'.join(_WORDS)})\b|(?:{'|'.join(_UNSPACED)}))"
_LINK = (
    r"(?:\s{0,3}(?:correcta|correcte|correta|corretta|final|finale|lautet|ist|es|est|è|é|är|is|jest|je|:|="
    r"|-(?!\s{0,3}\d)|是|为|為|は|은|는|应该|應該|应|选|選)){0,4}"
)
_CUE = re.compile(rf"{WORDS}{_LINK}\s{{0,3}}[:：]?\s{{0,3}}", re.I)


def may_be_other(text: str) -> bool:
    """Whether a text may hold one of these words: a look that costs little, since most are in English."""
    lower = text.lower()
    return not text.isascii() or any(word in lower for word in _ASCII)


def other_cue(text: str) -> re.Match | None:
    """The first word of another language than English that announces an answer, with what links them."""
    return _CUE.search(text) if may_be_other(text) else None
