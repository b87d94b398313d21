"""README's Python gives the number it states, and the links of the entrance lead somewhere; its commands: test_docs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[1]


@pytest.mark.usefixtures("one_thread")
def test_the_python_gives_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```", (TOP / "README.md").read_text("utf-8"), re.MULTILINE | re.DOTALL)
    (stated,) = re.findall(r"^print\(.*# (0\.\d+)$", code, re.MULTILINE)
    exec(compile(code, "README.md", "exec"), {})
    assert float(capsys.readouterr().out) == pytest.approx(float(stated), abs=0.006)


@pytest.mark.parametrize("page", ["README.md", "SECURITY.md"])
def test_the_links_lead_to_files(page: str) -> None:
    links = re.findall(r"\]\(([^)#]+)", (TOP / page).read_text("utf-8"))
    assert links
    elsewhere = ("https://", "../../security")  # the second is GitHub's own page
    assert [link for link in links if not link.startswith(elsewhere) and not (TOP / link).exists()] == []
