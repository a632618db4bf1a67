"""A person's number: found again from the id that a sender knows."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from millrace.contract import people
from millrace.settings import MissingSettingError, Settings
from millrace.usecases import erase_person


def test_a_person_is_found_by_the_number_or_by_the_text_that_was_sent() -> None:
    settings = Settings(ingest_hash_key=SecretStr("a key"))
    assert erase_person.user_id_of(settings, "424242") == 424242
    assert erase_person.user_id_of(settings, "u1") == people.number_of("u1", b"a key")
    assert erase_person.user_id_of(settings, str(2**64 - 1)) == 2**64 - 1
    assert erase_person.user_id_of(settings, str(2**64)) == people.number_of(str(2**64), b"a key")
    assert erase_person.user_id_of(settings, "007") == people.number_of("007", b"a key")


def test_a_text_is_nobody_where_there_is_no_key() -> None:
    settings = Settings(ingest_hash_key=SecretStr(""))
    assert erase_person.user_id_of(settings, "7") == 7
    with pytest.raises(MissingSettingError, match="MILLRACE_INGEST_HASH_KEY"):
        erase_person.user_id_of(settings, "u1")


def test_the_hash_stays_what_it_is() -> None:
    assert people.number_of("u1", b"key") == 8_333_169_997_121_502_605
