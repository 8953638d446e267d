"""What tests of training share."""

import pytest

from core.records import Progress


@pytest.fixture(scope="module")
def load(toy_language_model):
    """The model, loaded once."""

    def given(_config):
        yield Progress(phase="loading")
        return toy_language_model

    return given
