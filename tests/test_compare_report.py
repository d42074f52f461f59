"""The report: one HTML file that needs nothing else, Markdown, JSON, pictures, and a table for the terminal."""

import csv
import json
import re
import sys
from html.parser import HTMLParser

import pytest
from conftest import make_rows

from fusion_hf.cli import main
from fusion_hf.comparison.render import terminal
from fusion_hf.comparison.report import build_report
from fusion_hf.comparison.verbs import compare
from fusion_hf.logs.log import write_bench
from fusion_hf.logs.schema import rows_to_table, validate

PICTURES = ["report.png", "report_calls.png", "report_domains.png", "report_tasks.png", "report_wins.png"]
TASKS = ("gsm8k", "squad", "mbpp")
ODD = "<b>odd|one</b>"


def bench_in(folder, llms=("ant", "bee", "cow", ODD), tasks=TASKS, splits=("train", "partial_test", "test")):
    return write_bench({s: validate(rows_to_table(make_rows(30, llms, tasks, s))) for s in splits}, folder)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    result = compare(bench_in(folder / "bench"), folder / "out", title="A & B < C").report
    return result, folder / "out"


class Page(HTMLParser):
    """Collects what a page refers to, and checks that its tags close."""

    def __init__(self, text):
        super().__init__()
        self.open, self.references, self.rows, self.text = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.references += [found[name] for name in ("src", "href") if name in found]
        if tag == "tr":
            self.rows.append([])
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1].append(data)


def test_the_page_needs_nothing_but_itself(report):
    text = (report[1] / "report.html").read_text()
    page = Page(text)
    assert not page.open
    assert page.references and all(r.startswith(("#", "data:image/svg+xml;base64,")) for r in page.references)
    without_pictures = re.sub(r"data:image[^\"]*", "", text)
    assert "://" not in without_pictures and "@import" not in text and "url(" not in text
    assert sum(r.startswith("data:") for r in page.references) == len(PICTURES)
    anchors = {r[1:] for r in page.references if r.startswith("#")}
    assert all(f'id="{name}"' in text for name in anchors)
    assert "prefers-color-scheme: dark" in text


def test_names_are_escaped_in_every_format(report):
    page = (report[1] / "report.html").read_text()
    assert "<b>odd" not in page and "&lt;b&gt;odd|one&lt;/b&gt;" in page and "A &amp; B &lt; C" in page
    for line in (report[1] / "report.md").read_text().splitlines():
        if line.startswith(f"| {ODD[:6]}"):
            assert "odd\\|one" in line


def test_the_page_shows_every_system_with_the_figures_of_the_json(report):
    rows = [row for row in Page((report[1] / "report.html").read_text()).rows if row]
    for name, s in report[0]["systems"].items():
        low, high = s["ci95"]
        shown = f"best single ({report[0]['best_single']})" if name == "best single" else name
        assert any(row[0] == shown and f"{s['performance']:.3f} [{low:.3f}, {high:.3f}]" in row for row in rows), name
        tasks = [f"{s['by_task'][task]['performance']:.3f}" for task in sorted(TASKS)]
        assert [shown, *tasks] in rows


def test_markdown_tables_are_well_formed_and_pictures_are_there(report):
    text = (report[1] / "report.md").read_text()
    blocks = [b.splitlines() for b in text.split("\n\n") if b.startswith("|")]
    assert len(blocks) >= 5
    for block in blocks:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block}) == 1
    assert sorted(re.findall(r"\]\((.*?)\)", text)) == PICTURES
    assert all((report[1] / name).read_bytes().startswith(b"\x89PNG") for name in PICTURES)


def test_json_is_strict_and_holds_the_promised_shape(report):
    text = (report[1] / "report.json").read_text()

    def refuse(constant):
        raise AssertionError(constant)

    result = json.loads(text, parse_constant=refuse)
    for s in result["systems"].values():
        assert {"performance", "cost_usd", "ci95", "tokens", "judge", "latency_s", "by_task", "by_domain"} <= set(s)
        assert {"over_tasks", "spec", "calls", "gap_recovered_ci95", "cost_ratio", "validation_cost_usd"} <= set(s)
        assert set(s["by_task"]) == set(TASKS) and set(s["by_domain"]) == {"Math", "Code", "Reading"}
        assert s["judge"] is None and s["tokens"] is None and s["latency_s"] is None
    assert set(result["best_per_task"]["squad"]) >= {"system", "validation", "test", "best_single_test"}
    assert result["pairs"]["systems"] == list(result["systems"])


def test_the_same_log_gives_the_same_files(report, tmp_path):
    compare(bench_in(tmp_path / "bench"), tmp_path / "out", title="A & B < C")
    for name in ("report.html", "report.md", "report.json", "report.png"):
        assert (tmp_path / "out" / name).read_bytes() == (report[1] / name).read_bytes(), name


def test_without_matplotlib_the_report_says_how_to_get_pictures(tmp_path, monkeypatch):
    bench = bench_in(tmp_path / "bench")
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # as if it were not installed
    result = compare(bench, tmp_path / "out").report
    assert not list((tmp_path / "out").glob("*.png"))
    [note] = result["notes"]
    assert "pip install 'fusion_hf[plots]'" in note
    for name in ("report.md", "report.html"):
        text = (tmp_path / "out" / name).read_text()
        assert "without pictures" in text and "<img" not in text and "![" not in text


def test_a_log_without_costs_and_with_one_task_has_the_pictures_that_make_sense(tmp_path):
    rows = {s: make_rows(12, tasks=("squad",), split=s) for s in ("train", "test")}
    tables = {s: validate(rows_to_table([r | {"cost": None} for r in part])) for s, part in rows.items()}
    compare(bench_in(tmp_path / "full"), tmp_path / "out")
    assert (tmp_path / "out" / "report_domains.png").is_file()  # of an older report
    result = compare(write_bench(tables, tmp_path / "b"), tmp_path / "out").report
    assert sorted(p.name for p in (tmp_path / "out").glob("*.png")) == PICTURES[3:]
    assert result["systems"]["ant"]["cost_usd"] is None and result["best_per_task"] == {}
    text = (tmp_path / "out" / "report.md").read_text()
    assert "No validation split (partial_test): no configuration was chosen." in text and "not measured" in text


def test_the_terminal_table_is_short_and_fits(tmp_path, capsys):
    llms = tuple(f"a-model-with-a-rather-long-name-{i:02d}" for i in range(40))
    bench = bench_in(tmp_path / "b", llms)
    assert main(["compare", str(bench), "--out", str(tmp_path / "out")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 120 and len(lines) < 25
    assert any("37 more single LLMs between" in line for line in lines)
    assert str(tmp_path / "out" / "report.html") in lines[-1]


def test_means_over_tasks_are_shown_where_they_differ(report, tmp_path):
    def titles(folder):
        return re.findall(r"^### (On average.*)", (folder / "report.md").read_text(), re.M)

    assert titles(report[1]) == ["On average over queries and tasks"]
    rows = [*make_rows(20, tasks=("squad",), split="x"), *make_rows(4, tasks=("gsm8k",), split="y")]
    table = validate(rows_to_table(rows))
    compare(write_bench({"train": table, "test": table}, tmp_path / "b"), tmp_path / "out")
    assert titles(tmp_path / "out") == ["On average over queries", "On average over tasks"]


def test_the_terminal_names_what_is_not_measured(report):
    assert re.search(r"^ant .* – +\S+ %$", terminal(build_report(report[0])), re.M)


def test_the_page_opens_with_a_verdict_and_explains_its_words(report):
    page = (report[1] / "report.html").read_text()
    verdict = re.search(r'<p class="verdict">(.*?)</p>', page)[1]
    assert "best single LLM (ant" in verdict and page.index(verdict) < page.index("<section")
    for word in ("Anchors are", "Gap recovered:", "The hull joins", "by luck alone"):
        assert word in page, word


def test_every_rendering_shows_the_same_figures(report):
    best = report[0]["systems"]["ant"]
    cell = "{:.3f} [{:.3f}, {:.3f}]".format(best["performance"], *best["ci95"])
    for name in ("report.html", "report.md", "report.tex"):
        assert cell in (report[1] / name).read_text(), name
    rows = list(csv.DictReader((report[1] / "report.csv").read_text().splitlines()))
    assert len(rows) == len(report[0]["systems"]) * (1 + len(TASKS) + 3)
    [row] = [r for r in rows if (r["system"], r["group"]) == ("ant", "all")]
    assert float(row["performance"]) == best["performance"] and float(row["low"]) == best["ci95"][0]


def test_latex_escapes_what_a_name_may_hold(tmp_path):
    compare(bench_in(tmp_path / "b", ("a_b&c", "50%~x")), tmp_path / "out")
    text = (tmp_path / "out" / "report.tex").read_text()
    assert r"a\_b\&c" in text and r"50\%\textasciitilde{}x" in text
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") > 4


def test_names_of_strangers_compute_nothing_and_steer_nothing(tmp_path):
    names = ("=HYPERLINK(1)", "+1", "@SUM(1)", "m\x1b]0;pwned\x07", "m\x9b31m", "m\u202eevil", "gpt-4 = best")
    parts = {split: validate(rows_to_table(make_rows(6, names, split=split))) for split in ("train", "test")}
    bench = write_bench(parts, tmp_path / "bench")
    compare(bench, out=tmp_path / "out")
    for file in (bench / "README.md", *(tmp_path / "out" / f"report.{e}" for e in ("html", "md", "csv", "tex"))):
        text = file.read_text()
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", text) and "gpt-4 = best" in text, file
    with open(tmp_path / "out" / "report.csv", newline="") as file:
        shown = {row["system"] for row in csv.DictReader(file)}
    assert {"'=HYPERLINK(1)", "'+1", "'@SUM(1)", "gpt-4 = best"} <= shown
