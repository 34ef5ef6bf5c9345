"""The report in its three forms: complete, believable, inert, and made from the record alone."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path

import msgspec
import pytest
from rich.console import Console
from tests.report.fixture import HOSTILE, build

from lichen.cli.main import run
from lichen.errors import InputError
from lichen.measure.reading import Reading
from lichen.report import (
    find_flips,
    read_run,
    render_changes,
    render_markdown,
    render_table,
    view,
    words,
    write_report,
)
from lichen.verify.record import Record

VOID = {"meta", "br", "img", "line", "rect", "circle", "path", "link", "input", "hr"}


class Page(HTMLParser):
    """Tags with attributes, visible text, and whether every tag is closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open[-1] == tag, f"</{tag}> closes <{self.open[-1]}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.text += f" {data}"

    def names(self) -> set[str]:
        return {tag for tag, _ in self.tags}

    def words(self) -> str:
        return " ".join(self.text.split())


def page(folder: Path) -> Page:
    return Page(write_report(folder).read_text(encoding="utf-8"))


def terminal(record: Record, width: int = 110) -> str:
    out = StringIO()
    Console(file=out, width=width, no_color=True).print(render_table(record))
    return out.getvalue()


VERDICTS = {
    "accept": {"both": 480, "lost": 1, "gained": 1, "neither": 480},
    "undecided": {},
    "reject": {"both": 47, "lost": 24, "gained": 2, "neither": 70},
}


@pytest.mark.parametrize("verdict", VERDICTS)
class TestEveryVerdict:
    def test_page_says_it_and_why(self, tmp_path: Path, verdict: str) -> None:
        record = build(tmp_path, **VERDICTS[verdict])
        found = page(tmp_path)
        assert record.verdict.decision == verdict
        assert ("div", {"class": f"verdict {verdict}"}) in found.tags
        told = found.words()
        assert verdict.capitalize() in told
        assert record.verdict.summary in told
        assert record.correctness[0].reason in told
        assert record.verdict.warnings[0] in told
        assert view.sentence(record) in told

    def test_page_is_well_formed(self, tmp_path: Path, verdict: str) -> None:
        build(tmp_path, **VERDICTS[verdict])
        assert page(tmp_path).open == []

    def test_terminal_and_markdown_say_it_too(self, tmp_path: Path, verdict: str) -> None:
        record = build(tmp_path, **VERDICTS[verdict])
        assert verdict.upper() in terminal(record)
        assert render_markdown(record).startswith(f"# {verdict.capitalize()}: ")


class TestPage:
    def test_loads_nothing_and_runs_nothing(self, tmp_path: Path) -> None:
        build(tmp_path, hostile=True)
        html = write_report(tmp_path).read_text(encoding="utf-8")
        found = Page(html)
        allowed = {
            *("html", "head", "meta", "title", "style", "body", "main", "header", "footer"),
            *("section", "div", "span", "h1", "h2", "h3", "h4", "p", "b", "i", "small", "br"),
            *("ul", "li", "dl", "dt", "dd", "table", "thead", "tbody", "tr", "th", "td"),
            *("figure", "figcaption", "blockquote", "details", "summary", "pre", "code"),
            *("svg", "desc", "g", "path", "line", "rect", "circle", "text"),
        }
        assert found.names() <= allowed
        for tag, attributes in found.tags:
            loading = {"src", "href", "xlink:href", "srcset", "data", "action", "background"}
            assert not loading & attributes.keys(), tag
            assert not [name for name in attributes if name.startswith("on")], tag
        style = re.search("<style>(.*?)</style>", html, re.DOTALL)
        assert style is not None
        assert "url(" not in style[1]
        assert "@import" not in style[1]
        assert "http" not in html.replace("http-equiv", "")

    def test_a_policy_forbids_what_escaping_might_miss(self, tmp_path: Path) -> None:
        build(tmp_path)
        policies = [
            attributes["content"]
            for tag, attributes in page(tmp_path).tags
            if attributes.get("http-equiv") == "Content-Security-Policy"
        ]
        assert policies == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]

    def test_hostile_answers_are_shown_as_text(self, tmp_path: Path) -> None:
        build(tmp_path, hostile=True)
        found = page(tmp_path)
        assert found.open == []
        assert not {"script", "img"} & found.names()
        assert (
            "</pre></script><script>alert(1)</script><img src=x onerror=alert(2)>" in found.words()
        )
        assert "{{ 7*7 }}" in found.words()

    def test_has_every_row_of_the_comparison(self, tmp_path: Path) -> None:
        record = build(tmp_path)
        told = page(tmp_path).words()
        for section in view.sections(record):
            assert section.title in told
            for row in section.rows:
                assert row.label in told
                for cell in (row.reference, row.candidate, row.change, row.reference_range or ""):
                    assert " ".join(cell.split()) in told

    def test_modelled_figures_are_marked_and_their_assumptions_listed(self, tmp_path: Path) -> None:
        record = build(tmp_path)
        found = page(tmp_path)
        badges = [a for tag, a in found.tags if a.get("class") == "tag modelled"]
        assert len(badges) >= 4
        assert record.resources is not None
        for assumption in record.resources.assumptions:
            assert assumption in found.words()

    def test_flips_show_both_programs_with_what_differs(self, tmp_path: Path) -> None:
        record = build(tmp_path)
        found = page(tmp_path)
        details = [a for _, a in found.tags if a.get("class") == "flip"]
        assert len(details) == 5
        changed = [a for _, a in found.tags if a.get("class") == "changed"]
        assert len(changed) == 5 * 4  # two lines on either side
        told = found.words()
        assert all(task in told for task in (*record.correctness[0].lost, "best = None"))
        assert told.index(record.correctness[0].lost[0]) < told.index(
            record.correctness[0].gained[0]
        )

    def test_many_flips_are_all_there_but_folded_away(self, tmp_path: Path) -> None:
        record = build(tmp_path, both=20, lost=90, gained=3, neither=10)
        html = write_report(tmp_path).read_text(encoding="utf-8")
        found = Page(html)
        assert len([a for _, a in found.tags if a.get("class") == "flip"]) == 93
        assert all(task in found.words() for task in record.correctness[0].lost)
        assert "63 more" in found.words()
        assert len([a for tag, a in found.tags if tag == "details" and "open" in a]) == 1
        assert len(html) < 93 * 6000

    def test_flips_of_several_sets_are_set_by_set(self, tmp_path: Path) -> None:
        build(tmp_path)
        record = json.loads((tmp_path / "record.json").read_bytes())
        [axis] = record["correctness"]
        other = axis | {"tasks": "humaneval", "lost": ["HumanEval/7"], "gained": []}
        record["correctness"] = [axis, other]
        (tmp_path / "record.json").write_text(json.dumps(record))
        found = page(tmp_path)
        assert found.open == []
        assert len([a for _, a in found.tags if a.get("class") == "flip"]) == 6
        told = found.words()
        assert told.index("Tasks with another verdict") < told.index("HumanEval/7")
        assert [flip.tasks for flip in find_flips(read_run(tmp_path))][-1] == "humaneval"

    def test_samples_are_told(self, tmp_path: Path) -> None:
        record = build(tmp_path, samples=4)
        told = page(tmp_path).words()
        for part in (
            "4 samples a task at temperature 0.8, top-p 0.95",
            "in the mean of 4 samples; 3 less often, 2 more often",
            "… by any of 4 samples",
            "pass@4",
            "2 of 4 samples pass",
            "sign-flip permutation p =",
            "rephrased prompts were answered greedily",
            words.percent(record.correctness[0].pass_at[1].candidate.estimate),
        ):
            assert part in told, part
        markdown = render_markdown(record)
        assert "solved less often" in markdown
        assert "(2/4 → 0/4)" in markdown
        assert "… by any of 4 samples" in terminal(record)
        assert "(2/4 → 0/4)" in " ".join(terminal(record).split())

    def test_forgeable_verdicts_are_marked(self, tmp_path: Path) -> None:
        record = build(tmp_path, forgeable=True)
        found = page(tmp_path)
        marks = [a for _, a in found.tags if a.get("class") == "tag forgeable"]
        assert len(marks) == 5 * 2
        told = found.words()
        assert "2 tasks passed with a forgeable verdict" in told
        assert "could have forged its pass" in told
        assert all(task in told for task in record.correctness[0].forgeable)
        build(tmp_path)
        assert "tag forgeable" not in {a.get("class") for _, a in page(tmp_path).tags}

    def test_where_tasks_come_from_and_why_some_are_left_out(self, tmp_path: Path) -> None:
        record = build(tmp_path)
        [axis] = record.correctness
        told, markdown = page(tmp_path).words(), render_markdown(record)
        assert axis.source in told
        assert axis.source in markdown
        assert "1 task left out" in told
        assert "its reference fails here: timeout" in markdown

    def test_a_run_scored_again_says_what_changed(self, tmp_path: Path) -> None:
        record = build(tmp_path)
        change = {"role": "candidate", "tasks": "basics", "task": "basics/7", "sample": 0}
        change |= {"perturbation": None, "seed": None, "before": "timeout", "after": "passed"}
        rescored = {"created": record.created, "judged": 286, "changed": [change]}
        path = tmp_path / "record.json"
        path.write_text(json.dumps(json.loads(path.read_bytes()) | {"rescored": rescored}))
        told = page(tmp_path).words()
        assert "1 of 286 verdicts changed since 23 November 2026" in told
        assert "candidate, basics/7: timeout → passed" in told
        again = read_run(tmp_path).record
        assert render_changes(again).splitlines() == [
            "1 of 286 verdicts changed:",
            "  candidate on basics basics/7: timeout -> passed",
        ]

    def test_plots_tell_their_figures_in_words(self, tmp_path: Path) -> None:
        build(tmp_path)
        found = page(tmp_path)
        plots = [a for tag, a in found.tags if tag == "svg" and a.get("role") == "img"]
        assert len(plots) == 2 + 6
        assert "Correctness, basics: -0.7 points, between -3.9 points and +2.3 points" in (
            found.text.replace(words.MINUS, "-")
        )

    def test_exclusions_machine_settings_and_digests_are_there(self, tmp_path: Path) -> None:
        record = build(tmp_path)
        told = page(tmp_path).words()
        excluded = record.correctness[0].excluded[0]
        for part in (
            *(excluded.task, excluded.reason, record.machine.processor, record.machine.isa),
            *(record.reference.digest, record.candidate.digest, record.command),
            *("max tokens", "butter fingers", "What was not tested"),
        ):
            assert part in told

    def test_light_dark_and_print(self, tmp_path: Path) -> None:
        build(tmp_path)
        html = write_report(tmp_path).read_text(encoding="utf-8")
        assert "prefers-color-scheme: dark" in html
        assert "@media print" in html
        colours = re.findall(r"fill=|stroke=|style=", html)
        assert colours == []  # all colours come from the style sheet

    def test_unsafe_runs_say_so_in_red(self, tmp_path: Path) -> None:
        build(tmp_path)
        path = tmp_path / "record.json"
        changed = json.loads(path.read_bytes()) | {"unsafe": True, "sandbox_level": "none"}
        path.write_text(json.dumps(changed))
        found = page(tmp_path)
        assert ("div", {"class": "unsafe"}) in found.tags
        assert "UNSAFE" in found.words()


class TestPartialRuns:
    def test_correctness_alone(self, tmp_path: Path) -> None:
        record = build(tmp_path, robustness=False, divergence=False, resources=False)
        told = page(tmp_path).words()
        assert "Robustness: prompts were not rephrased." in told
        assert "no time, memory or energy was taken" in told
        assert "Resources" not in terminal(record)
        assert "modelled" not in render_markdown(record)

    def test_original_against_itself(self, tmp_path: Path) -> None:
        record = build(tmp_path, lost=0, gained=0)
        assert record.verdict.decision == "accept"
        told = page(tmp_path).words()
        assert "both models solve the same tasks and fail the same tasks" in told
        assert "We can switch" in told

    def test_without_the_answers_the_flips_are_still_named(self, tmp_path: Path) -> None:
        record = build(tmp_path)
        (tmp_path / "completions.jsonl").unlink()
        told = page(tmp_path).words()
        assert record.correctness[0].lost[0] in told
        assert "This answer is not in the run's folder." in told

    def test_a_torn_last_line_is_passed_over(self, tmp_path: Path) -> None:
        build(tmp_path)
        path = tmp_path / "completions.jsonl"
        whole = path.read_bytes()
        path.write_bytes(whole + whole.splitlines()[0][:50])
        answers = read_run(tmp_path).answers
        assert [len(given) for given in answers.values()] == [1] * (2 * 143)

    def test_a_bad_line_in_the_middle_is_an_error(self, tmp_path: Path) -> None:
        build(tmp_path)
        path = tmp_path / "completions.jsonl"
        path.write_bytes(b'{"role": 1}\n' + path.read_bytes())
        with pytest.raises(InputError, match="line 1"):
            read_run(tmp_path)


class TestBadRecords:
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (b"", "not a record"),
            (b"[1]", "not a record"),
            (b'{"schema_version": 99}', "schema version 99, this lichen reads 1 to 2"),
            (b'{"schema_version": 1}', "not a record"),
        ],
        ids=["empty", "list", "future", "incomplete"],
    )
    def test_one_clear_message(self, tmp_path: Path, text: bytes, message: str) -> None:
        (tmp_path / "record.json").write_bytes(text)
        with pytest.raises(InputError, match=message):
            write_report(tmp_path)
        assert not (tmp_path / "report.html").exists()

    def test_no_run_there(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"record\.json: No such file"):
            write_report(tmp_path / "absent")


class TestSentence:
    @pytest.mark.parametrize(
        ("bound", "told"), [(0.0131, "1.4 points"), (0.03, "3 points"), (-0.01, "0 points")]
    )
    def test_a_bound_is_rounded_up(self, bound: float, told: str) -> None:
        assert words.at_most(bound) == told

    def test_accept_names_the_gain_and_the_risk(self, tmp_path: Path) -> None:
        told = view.sentence(build(tmp_path, **VERDICTS["accept"]))
        assert told == (
            "We can switch: on 962 programming tasks the int8 model solves 481 where the original "
            "solves 481, and it is 2.0 times faster for one user, 2.0 times faster on batches and "
            "2.0 times lighter on energy, but 1.2 times larger on disk; with 95% confidence we "
            "lose at most 0.4 points."
        )

    def test_undecided_says_how_much_more(self, tmp_path: Path) -> None:
        record = build(tmp_path)
        needed = record.correctness[0].tasks_needed
        assert f"about {needed} tasks before we decide" in view.sentence(record)
        first = msgspec.structs.replace(record.correctness[0], tasks="easier", tasks_needed=None)
        both = msgspec.structs.replace(record, correctness=[first, *record.correctness])
        name = record.correctness[0].tasks
        assert f"about {needed} tasks like those of {name} before" in view.sentence(both)

    def test_reject(self, tmp_path: Path) -> None:
        told = view.sentence(build(tmp_path, **VERDICTS["reject"]))
        assert told.startswith("We should not switch")
        assert told.endswith("a loss that chance does not explain.")

    def test_a_candidate_of_the_same_scheme_is_called_by_its_name(self, tmp_path: Path) -> None:
        record = build(tmp_path)
        same = msgspec.structs.replace(record.candidate, scheme=record.reference.scheme, name="B")
        record = msgspec.structs.replace(record, candidate=same)
        assert view.candidate_label(record) == "candidate"
        assert view.question(record).startswith("Can B replace the original ")


class TestFlips:
    def test_terminal_shows_both_programs(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        build(tmp_path, forgeable=True)
        assert run(["report", str(tmp_path), "--flips"]) == 0
        told = capsys.readouterr().out
        assert told.count("def running_max(numbers):") == 5 * 2
        assert told.count("| ") >= 5 * 4
        assert "original: passed, forgeable" in told
        assert "basics/068_running_max  basics  lost" in told
        assert not (tmp_path / "report.html").exists()

    def test_json_has_both_programs(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        build(tmp_path)
        assert run(["report", str(tmp_path), "--flips", "--json"]) == 0
        [found] = json.loads(capsys.readouterr().out)
        assert [flip["lost"] for flip in found["flips"]] == [True] * 3 + [False] * 2
        first = found["flips"][0]
        assert first["reference"]["program"] != first["candidate"]["program"]
        assert first["candidate"]["verdict"] == "failed"
        assert "running maximum" in first["prompt"]

    def test_of_several_samples_those_that_differ_are_shown(self, tmp_path: Path) -> None:
        record = build(tmp_path, samples=4)
        [first, *_], [gained, *_] = record.correctness[0].lost, record.correctness[0].gained
        path = tmp_path / "completions.jsonl"
        rows = [json.loads(line) for line in path.read_bytes().splitlines()]
        for row in rows:
            if (row["sample"], row["task"]) in ((0, first), (0, gained)):
                flipped = {"passed": "failed", "failed": "passed"}[row["verdict"]]
                row |= {"verdict": flipped, "program": "neither of these\n"}
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        found = {flip.task: flip for flip in find_flips(read_run(tmp_path))}
        for task, verdicts in ((first, ("passed", "failed")), (gained, ("failed", "passed"))):
            sides = found[task].reference, found[task].candidate
            assert tuple(side.verdict for side in sides if side) == verdicts
            assert all("neither of these" not in side.program for side in sides if side)

    def test_none(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        build(tmp_path, lost=0, gained=0)
        assert run(["report", str(tmp_path), "--flips"]) == 0
        assert "solve the same tasks" in capsys.readouterr().out

    def test_hostile_programs_are_text(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        build(tmp_path, hostile=True)
        assert run(["report", str(tmp_path), "--flips"]) == 0
        shown = capsys.readouterr().out
        assert {c for c in shown if not c.isprintable()} == {"\n"}
        assert r"\x00" in shown


class TestForms:
    def test_terminal_fits_a_narrow_window(self, tmp_path: Path) -> None:
        lines = terminal(build(tmp_path), width=80).splitlines()
        assert max(map(len, lines)) <= 80

    def test_terminal_reads_nothing_as_markup(self, tmp_path: Path) -> None:
        record = build(tmp_path)
        path = tmp_path / "record.json"
        told = "pass [red]this[/red] and [/] that"
        path.write_bytes(path.read_bytes().replace(record.verdict.summary.encode(), told.encode()))
        assert told in terminal(read_run(tmp_path).record)

    def test_markdown_table_has_equal_columns(self, tmp_path: Path) -> None:
        told = render_markdown(build(tmp_path, hostile=True))
        rows = [re.sub(r"\\.", "", line) for line in told.splitlines() if line.startswith("|")]
        assert {row.count("|") for row in rows} == {6}
        assert "<script" not in re.sub(r"\\.", "", told)

    def test_both_files_are_written_whole(self, tmp_path: Path) -> None:
        build(tmp_path)
        assert write_report(tmp_path) == tmp_path / "report.html"
        assert {p.name for p in tmp_path.iterdir()} == {
            *("record.json", "completions.jsonl", "report.html", "report.md")
        }

    def test_the_same_record_gives_the_same_page(self, tmp_path: Path) -> None:
        build(tmp_path)
        first = write_report(tmp_path).read_bytes()
        assert write_report(tmp_path).read_bytes() == first


class TestWords:
    @pytest.mark.parametrize(
        ("value", "unit", "text"),
        [
            (397_800_000, "B", "398 MB"),
            (1_300_000_000, "B", "1.30 GB"),
            (0.42, "s", "420 ms"),
            (12.34, "s", "12.3 s"),
            (0.0172, "J", "17.2 mJ"),
            (0.00034, "g", "340 µg"),
            (231.4, "tok/s", "231 tok/s"),
            (12345, "tok/s", "12,345 tok/s"),
            (0, "s", "0.00 µs"),
        ],
    )
    def test_quantity(self, value: float, unit: str, text: str) -> None:
        assert words.quantity(value, unit).replace(words.THIN, " ") == text

    @pytest.mark.parametrize(
        ("fraction", "text"),
        [(-0.007, "-0.7 points"), (0.01, "+1.0 point"), (0.0001, "no change"), (0, "no change")],
    )
    def test_signed_points(self, fraction: float, text: str) -> None:
        assert words.signed_points(fraction).replace(words.MINUS, "-") == text

    @pytest.mark.parametrize(
        ("before", "after", "expected"),
        [
            (2, 1, (f"2.0{words.TIMES} less", "good")),
            (1, 2, (f"2.0{words.TIMES} more", "bad")),
            (100, 124, ("24% more", "bad")),
            (100, 101, ("about the same", "same")),
            (0, 1, ("", "same")),
        ],
    )
    def test_ratio(self, before: float, after: float, expected: tuple[str, str]) -> None:
        assert words.ratio(before, after, "less", "more") == expected

    def test_a_range_that_is_a_point_is_not_shown(self) -> None:
        point = Reading(value=1, unit="s", kind="measured", source="x", low=1, high=1)
        assert words.reading_range(point) is None

    def test_hostile_text_is_what_it_says(self) -> None:
        assert "<script>" in HOSTILE
