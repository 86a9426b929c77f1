"""Keys that the database confirmed lately outlive its absence; nothing else does."""

import stat
import threading
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from anyio import run
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from crewflow_assets import clock
from crewflow_assets.store import keys as api_keys
from crewflow_assets.store.database import transaction
from crewflow_assets.store.keys import KeyScope, hash_of
from serving import keyring, known_keys
from serving.caller import Caller
from serving.keyring import Keyring
from serving.known_keys import KEPT, KnownKeys
from serving.problems import Problem

SCOPE = KeyScope(3, "c-17", 600)


def test_a_confirmed_key_is_found_until_it_is_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "gateway" / "keys.json"
    keys = KnownKeys(path)
    keys.confirm("d1", SCOPE)
    keys.confirm("d2", KeyScope(4, None))
    other = KnownKeys(path)
    assert (other.find("d1"), other.find("d2"), other.find("d3")) == (SCOPE, KeyScope(4, None), None)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    keys.confirm("d1", KeyScope(3, "c-17", None))
    assert other.find("d1") == KeyScope(3, "c-17", None)
    keys.forget("d1")
    assert other.find("d1") is None


def test_of_many_keys_the_last_confirmed_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_keys, "MOST_KEPT", 2)
    keys = KnownKeys(tmp_path / "keys.json")
    keys.confirm("d1", SCOPE)
    keys.confirm("d2", SCOPE)
    keys.confirm("d1", KeyScope(3, "c-17", None))
    keys.confirm("d3", SCOPE)
    assert list(keys._mine) == ["d1", "d3"]
    assert [keys.find(digest) is None for digest in ("d1", "d2", "d3")] == [False, True, False]


def test_a_key_is_forgotten_whichever_worker_had_confirmed_it(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    confirming, asking = KnownKeys(path), KnownKeys(path)
    confirming.confirm("d1", SCOPE)
    confirming.confirm("d2", SCOPE)
    asking.forget("d1")
    assert (confirming.find("d1"), confirming.find("d2")) == (None, SCOPE)


def test_a_key_is_forgotten_also_where_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = KnownKeys(tmp_path / "keys.json")
    keys.confirm("d1", SCOPE)

    def full(entries: Mapping[str, object]) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(keys, "_write", full)
    keys.forget("d1")
    assert KnownKeys(tmp_path / "keys.json").find("d1") is None


def test_workers_that_write_at_once_undo_nothing_of_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "keys.json"
    slow, fast = KnownKeys(path), KnownKeys(path)
    slow.confirm("revoked", SCOPE)
    other = threading.Thread(target=fast.forget, args=("revoked",))
    write = slow._write

    def overtaken(entries: Mapping[str, tuple[datetime, KeyScope]]) -> None:
        other.start()
        other.join(0.2)  # ends only where nothing keeps it from writing between our read and our write
        write(entries)

    monkeypatch.setattr(slow, "_write", overtaken)
    slow.confirm("d2", SCOPE)
    other.join()
    assert (slow.find("revoked"), slow.find("d2")) == (None, SCOPE)


def test_after_a_day_a_key_is_no_longer_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = KnownKeys(tmp_path / "keys.json")
    keys.confirm("d1", SCOPE)
    later = clock.now() + KEPT + timedelta(seconds=1)
    monkeypatch.setattr(clock, "now", lambda: later)
    assert keys.find("d1") is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"d1": {}}', '{"d1": {"confirmed_at": "x", "scope": {}}}'])
def test_a_torn_file_counts_as_empty(tmp_path: Path, content: str) -> None:
    path = tmp_path / "keys.json"
    path.write_text(content)
    assert KnownKeys(path).find("d1") is None
    KnownKeys(path).confirm("d1", SCOPE)
    assert KnownKeys(path).find("d1") == SCOPE


def test_the_keyring_without_a_database(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The home folder has no tables at all: nothing can be confirmed."""
    token = "cfk_known"
    KnownKeys(home / "gateway" / "keys.json").confirm(hash_of(token), SCOPE)
    ring = Keyring()
    assert run(ring.caller, f"Bearer {token}") == Caller(3, "c-17", 600)
    for _ in range(2):
        with pytest.raises(OperationalError):
            run(ring.caller, "Bearer cfk_unknown")
    with pytest.raises(Problem) as refused:
        run(ring.caller, None)
    assert refused.value.status == 401
    assert (home / "gateway" / "keys.json").read_text().count("cfk_") == 0
    late = datetime.fromisoformat("2100-01-01T00:00:00+00:00")
    monkeypatch.setattr(clock, "now", lambda: late)
    monkeypatch.setattr(keyring, "REMEMBERED_SECONDS", 0.0)
    with pytest.raises(OperationalError):
        run(Keyring().caller, f"Bearer {token}")


@pytest.mark.parametrize("refused", ["a full disk", "no folder"])
def test_keys_that_cannot_be_kept_on_disk_are_checked_all_the_same(
    sqlite_store: Engine,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    refused: str,
) -> None:
    with transaction() as session:
        token, row = api_keys.create(session, "backend", None)
        key_id = row.id

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    if refused == "a full disk":
        monkeypatch.setattr(KnownKeys, "_write", full)
    else:
        (home / "gateway").write_text("in the way")
    monkeypatch.setattr(keyring, "REMEMBERED_SECONDS", 0.0)
    ring = Keyring()
    assert run(ring.caller, f"Bearer {token}") == Caller(key_id, None)
    assert "cannot be kept on disk" in caplog.text
    with transaction() as session:
        api_keys.revoke(session, key_id)
    with pytest.raises(Problem) as refusal:
        run(ring.caller, f"Bearer {token}")
    assert refusal.value.status == 401
