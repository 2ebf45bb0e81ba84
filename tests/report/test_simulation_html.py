import json
import re
from html.parser import HTMLParser

import pytest

from profleet.report.html import embedded
from profleet.report.simulation_html import write_simulation_report, write_sweep_report
from profleet.report.simulation_plots import write_simulation_plots
from profleet.simulate.api import simulate
from profleet.simulate.results import finish, load_simulation, write_simulation
from simulated_jobs import REFUSAL, Made, invocation, latency_ms, make_failure, make_simulation

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\x1b[2J"
LOADING = {"src", "srcset", "href", "data", "poster", "action", "formaction", "background"}


class Page(HTMLParser):
    """What a browser would make of a page, as far as tests ask."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.links, self.scripts, self.words = [], [], [], []
        self.text = path.read_text(encoding="utf-8")
        self._in = None
        self.feed(self.text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        assert not any(name.startswith("on") for name, _ in attrs)
        self.links += [(tag, value or "") for name, value in attrs if name in LOADING]
        self._in = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        self._in = None

    def handle_data(self, data):
        if self._in == "script":
            self.scripts[-1] += data
        elif self._in != "style":
            self.words.append(data)

    @property
    def shown(self):
        return re.sub(r"\s+", " ", " ".join(self.words))

    @property
    def data(self):
        return json.loads(self.scripts[0])


def report(folder, what=None):
    make_simulation(folder, what or Made())
    return Page(write_simulation_report(folder))


def test_a_report_states_what_the_result_states(tmp_path):
    page = report(tmp_path, Made(groups={"fast": 2, "slow": 3}, promised_ms=60.0, notes=("Mind.",)))
    assert "2 fast + 3 slow · squeezenet · poisson 500/s · jsq · no batching" in page.shown
    assert "stable" in page.shown
    p99 = latency_ms(Made(), 0.99)
    assert f"{p99:.2f} [{0.9 * p99:.2f}, {1.1 * p99:.2f}]" in page.shown
    assert "interpolated" in page.shown
    assert "slow under onnxruntime" not in page.shown
    assert "squeezenet under onnxruntime on slow" in page.shown
    assert "profile 33e5" in page.shown
    assert "1-2 measured 3 interpolated 4 measured" in page.shown
    assert "Mind." in page.shown
    assert "workload.load" in page.shown
    assert "profleet simulate router=jsq workload.load=0.5" in page.shown
    assert "INV-6: Little's law" in page.shown
    assert "95 % confidence intervals over 3 replications" in page.shown
    assert page.tags.count("img") == 5


def test_every_metric_is_in_the_table_and_in_the_data(tmp_path):
    page = report(tmp_path)
    result = load_simulation(tmp_path)
    assert page.data["metrics"] == {
        name: metric.model_dump() for name, metric in result.metrics.items()
    }
    for name in result.metrics:
        assert f"<code>{name}</code>" in page.text


@pytest.mark.parametrize(("bound", "word"), [(1000.0, "kept"), (10.0, "not kept")])
def test_promises_say_whether_they_were_kept(tmp_path, bound, word):
    page = report(tmp_path, Made(promised_ms=bound))
    assert re.search(rf"Promises .* latency_p99_ms {bound:.0f}\S* ms .*? {word} ", page.shown)


def test_overload_is_said_with_its_reason_and_no_latency(tmp_path):
    page = report(tmp_path, Made(verdict="overloaded", load=1.2))
    assert '<span class="verdict overloaded">overloaded</span>' in page.text
    assert REFUSAL in page.shown
    assert page.shown.count("no steady state") >= 3
    assert "latency_p99_ms" not in page.data["metrics"]
    assert 'class="full"' in page.text


def test_one_replication_has_no_intervals(tmp_path):
    page = report(tmp_path, Made(replications=1))
    assert "no interval" in page.shown
    assert "95 % confidence" not in page.shown


@pytest.mark.parametrize("status", ["failed", "interrupted"])
def test_a_simulation_without_a_result_has_a_page_with_the_reason(tmp_path, status):
    make_failure(tmp_path, "The trace is <empty>.", ("workload=trace",), status)
    page = Page(write_simulation_report(tmp_path))
    assert f'<span class="verdict {status}">{status}</span>' in page.text
    assert "The trace is <empty>." in page.shown
    assert "profleet simulate workload=trace" in page.shown
    assert "INV-1" not in page.shown
    assert "<h2>Workload" not in page.text


def test_a_page_can_be_made_without_tables_and_invocation(tmp_path):
    make_simulation(tmp_path)
    for path in [*(tmp_path / "tables").iterdir(), tmp_path / "invocation.json"]:
        path.unlink()
    page = Page(write_simulation_report(tmp_path))
    assert "img" not in page.tags
    assert "The command is not recorded" in page.shown


def test_secrets_of_the_command_line_stay_out(tmp_path):
    overrides = ("router=jsq", "tracking.uri=https://me:hunter2@host", "store=/home/me", "a='b c'")
    page = report(tmp_path, Made(overrides=overrides))
    assert "profleet simulate router=jsq 'a='\"'\"'b c'\"'\"''" in page.shown
    assert "hunter2" not in page.text
    assert "/home/me" not in page.text
    assert "are left out" in page.shown


def test_hostile_names_are_text(tmp_path):
    what = Made(model=HOSTILE, groups={HOSTILE: 1}, router=HOSTILE, notes=(HOSTILE,))
    make_simulation(tmp_path / HOSTILE.replace("/", "|"), what)
    make_failure(tmp_path / "1", HOSTILE, (f"router={HOSTILE}",))
    alone = write_simulation_report(tmp_path / HOSTILE.replace("/", "|"))
    for path in (alone, write_sweep_report(tmp_path)):
        page = Page(path)
        assert page.tags.count("script") == 2
        assert "alert" not in page.scripts[1]
        assert "<img src=x" not in page.text
        assert all(tag in {"img", "a"} for tag, _ in page.links)
        assert "\x1b" not in page.text
        assert "<script>alert(1)</script>" in page.shown.replace("\n", "")
        assert page.data


def test_a_hostile_picture_is_only_an_image(tmp_path):
    make_simulation(tmp_path)
    write_simulation_plots(tmp_path)
    (tmp_path / "plots" / "latency.svg").write_text("<svg><script>alert(1)</script></svg>")
    page = Page(write_simulation_report(tmp_path))
    assert "alert" not in page.text
    assert page.tags.count("script") == 2


def test_pages_load_nothing(tmp_path):
    for number, what in enumerate([Made(), Made(load=0.7)]):
        make_simulation(tmp_path / str(number), what)
    write_simulation_report(tmp_path / "0")
    for path in (tmp_path / "0" / "report.html", write_sweep_report(tmp_path)):
        page = Page(path)
        assert not set(page.tags) & {"link", "iframe", "object", "embed", "base", "use"}
        for tag, target in page.links:
            assert target.startswith("data:image/svg+xml;base64," if tag == "img" else "./")
        text = re.sub(r'"data:[^"]*"', "", page.text)
        assert "http:" not in text
        assert "https:" not in text
        assert "@import" not in text
        assert "url(" not in text
        assert "default-src 'none'" in text


def test_pages_are_the_same_bytes_each_time(tmp_path):
    pages = []
    for name in ("one", "two"):
        make_simulation(tmp_path / name / "0")
        make_simulation(tmp_path / name / "1", Made(load=0.7))
        (tmp_path / name / "0" / "plots").mkdir()  # those of the sweep are enough
        alone = write_simulation_report(tmp_path / name / "0").read_bytes()
        together = write_sweep_report(tmp_path / name).read_bytes()
        pages.append((alone, together.replace(f"{name}:".encode(), b"")))
    assert pages[0] == pages[1]


def test_a_sweep_compares_its_jobs_and_links_to_their_pages(tmp_path):
    for number, load in enumerate((0.3, 0.5, 0.9, 1.1)):
        what = Made(load=load, mean_ms=5 / abs(1 - load), verdict="stable" if load < 1
                    else "overloaded", promised_ms=60.0)  # fmt: skip
        make_simulation(tmp_path / str(number), what)
    write_simulation_report(tmp_path / "1")
    make_failure(tmp_path / "4", "No replica serves it.", ("workload.load=9", "router=jsq"))
    page = Page(write_sweep_report(tmp_path))
    assert "3 stable" in page.shown
    assert "1 overloaded" in page.shown
    assert "1 failed" in page.shown
    assert [target for tag, target in page.links if tag == "a"] == ["./1/report.html"]
    assert "<th>workload.load</th>" in page.text
    assert "<th>router</th>" not in page.text
    assert re.search(r"4 load=9 failed No replica serves it\.", page.shown)
    assert re.search(r"all 0\.5000 46\.05 0\.9000 230\.3", page.shown)
    assert [job["verdict"] for job in page.data] == ["stable"] * 3 + ["overloaded", None]
    assert "router.kind" in page.shown


def test_a_folder_without_simulations_has_a_page_too(tmp_path):
    assert "No simulation was found" in Page(write_sweep_report(tmp_path)).shown
    make_failure(tmp_path / "0", "no")
    assert "1 failed" in Page(write_sweep_report(tmp_path)).shown


@pytest.mark.parametrize("value", ["</script>", "<!--", "]]>", "\u2028", "&amp;"])
def test_embedded_data_cannot_leave_its_element(value):
    text = str(embedded({value: value}))
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == {value: value}


def test_embedded_data_has_no_nan():
    with pytest.raises(ValueError, match="JSON"):
        embedded({"a": float("nan")})


def test_what_the_simulator_writes_can_be_shown(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    simulation = simulate(
        "assumed",
        {"kind": "poisson", "load": 0.5},
        batching={"kind": "dynamic", "size": 2},
        slo={"p99_ms": 100},
        requests=400,
        replications=2,
    )
    finish(tmp_path, write_simulation(tmp_path, simulation), invocation(Made()))
    page = Page(write_simulation_report(tmp_path))
    assert "2 large + 8 small" in page.shown
    assert page.tags.count("img") >= 4
    power = page.data["metrics"]
    parts = sum(power[f"power_mean_w/{group}"]["value"] for group in ("large", "small"))
    assert parts == pytest.approx(power["power_mean_w"]["value"])
    assert power["cost_per_hour/large"]["value"] == 4.0
    assert power["cost_per_hour/small"]["value"] == pytest.approx(3.2)
