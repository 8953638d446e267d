"""Stores that are kept open, and opened anew where the database was replaced."""

import pytest

from core.analysis.stores import Stores
from core.errors import QueryError


def test_a_store_is_kept_until_its_database_is_replaced(case):
    stores = Stores()
    first = stores.get(case.session)
    assert stores.get(case.session) is first
    case.build(top_examples=1)
    second = stores.get(case.session)
    assert second is not first and second.count() == first.d_sae
    stores.interrupt()
    stores.forget(case.session)
    assert stores.get(case.session) is not second


def test_what_was_not_analysed_has_no_store(make_case):
    with pytest.raises(QueryError, match="has not been analysed"):
        Stores().get(make_case().session)
