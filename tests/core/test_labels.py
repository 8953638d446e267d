"""Labels that are changed a field at a time, by several at once."""

import threading

from core import labels
from core.labels import Label
from core.session import Session

BEFORE = "2026-01-31T12:00:00Z"


def test_a_change_keeps_the_other_fields_and_a_label_is_a_persons_once_a_person_changes_it(tmp_path):
    session = Session(tmp_path)
    labels.append(session, Label(feature=7, label="a", note="n", tags=("t",), source="model", at=BEFORE))
    changed = labels.change(session, 7, starred=True)
    assert changed == labels.read(session)[7]
    assert (changed.label, changed.note, changed.tags) == ("a", "n", ("t",))
    assert changed.starred and changed.source == "model" and changed.at > BEFORE
    assert labels.change(session, 9, starred=True).source == "person"
    assert labels.change(session, 8, label="new") == labels.read(session)[8]
    assert labels.read(session)[7] == changed
    assert labels.change(session, 7, label="b").source == "person"


def test_changes_at_once_lose_nothing(tmp_path):
    session = Session(tmp_path)
    fields = [{"label": "a"}, {"note": "b"}, {"starred": True}, {"tags": ("c",)}] * 5
    threads = [threading.Thread(target=labels.change, args=(session, 1), kwargs=f) for f in fields]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = labels.read(session)[1]
    assert (found.label, found.note, found.starred, found.tags) == ("a", "b", True, ("c",))
