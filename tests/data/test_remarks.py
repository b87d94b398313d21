"""A remark is made at the first, the tenth, the hundredth image, by topic, and counted from every thread."""

from __future__ import annotations

import pickle
import threading
import warnings

from featx.data.remarks import Remarks
from featx.errors import FeatxWarning


def said(remarks: Remarks, topic: str, names: list[str]) -> list[str]:
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        for name in names:
            remarks.say(topic, name, "is dark")
    assert all(issubclass(one.category, FeatxWarning) for one in heard)
    return [str(one.message) for one in heard]


def test_remarks_are_made_at_each_tenfold() -> None:
    assert said(Remarks(), "dark", [f"{i}.png" for i in range(1, 2500)]) == [
        "image 1.png is dark",
        "image 10.png (and 9 before it) is dark",
        "image 100.png (and 99 before it) is dark",
        "image 1000.png (and 999 before it) is dark",
    ]


def test_topics_and_processes_are_counted_apart() -> None:
    remarks = Remarks()
    assert said(remarks, "dark", ["a", "b"]) == ["image a is dark"]
    assert said(remarks, "bits", ["c", "d"]) == ["image c is dark"]
    assert said(pickle.loads(pickle.dumps(remarks)), "dark", ["e"]) == ["image e is dark"]


def test_the_first_value_of_a_topic_is_what_others_differ_from() -> None:
    remarks = Remarks()
    assert [remarks.differs("bits", value) for value in (12, 12, 16, 12)] == [False, False, True, False]
    assert not remarks.differs("other", 16)


def test_threads_count_together() -> None:
    remarks = Remarks()
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        threads = [
            threading.Thread(target=lambda: [remarks.say("dark", "x", "is dark") for _ in range(250)]) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(heard) == 4  # the 1st, 10th, 100th and 1000th
