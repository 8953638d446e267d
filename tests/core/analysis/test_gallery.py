"""What the database of an image session tells of a feature, against the numbers it was made of."""

import numpy as np
import pytest

from core import image_facts
from core.analysis import card, gallery
from core.analysis.store import Store
from tests import image_session
from tests.core.analysis.conftest import ALWAYS, SILENT

FIVES = 5


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return image_session.make(tmp_path_factory.mktemp("images"), "digits")


@pytest.fixture(scope="module")
def maps(tmp_path_factory):
    return image_session.make(tmp_path_factory.mktemp("maps"), "maps", model="mnist-cnn", hook="blocks.1.hook_post")


def test_the_top_images_pattern_and_effects_are_those_that_were_written(made):
    with Store.open([made.session]) as store:
        found = gallery.read(store, FIVES, limit=4)
    values = made.code[:, 0, FIVES]
    assert [one.value for one in found.images] == sorted(values.tolist(), reverse=True)[:4]
    for rank, one in enumerate(found.images):
        image = one.image - 100
        assert (one.band, one.rank, one.label) == (0, rank, made.labels[image])
        assert one.predicted == (made.labels[image] + (image % image_session.MISTAKEN == 0)) % 10
        assert np.array_equal(one.pixels, made.pixels[image] / 255) and one.value == values[image]
        assert one.place is None and one.fires == () and one.token_idx == image
    assert np.allclose(found.pattern, made.patterns[FIVES])
    assert np.allclose([effect[1:] for effect in found.effects], made.effects[FIVES])


def test_each_band_is_read_alone_or_all_of_them(made):
    with Store.open([made.session]) as store:
        every = gallery.read(store, FIVES, limit=100, band=None).images
        bands = sorted({one.band for one in every})
        assert len(bands) > 2 and [(one.band, one.rank) for one in every] == sorted((o.band, o.rank) for o in every)
        for band in bands:
            assert gallery.read(store, FIVES, limit=100, band=band).images == tuple(o for o in every if o.band == band)
        assert len(gallery.read(store, FIVES, limit=1, band=None).images) == len(bands)


def test_a_feature_that_never_fired_has_nothing_and_one_that_always_did_was_never_switched_on(made):
    with Store.open([made.session]) as store:
        dead, always = gallery.read(store, SILENT), gallery.read(store, ALWAYS)
    assert (dead.images, dead.pattern, dead.effects) == ((), (), ())
    assert all(on is None and off is not None for _, on, off in always.effects)


def test_an_image_of_a_feature_map_has_its_place_and_all_activations_of_the_feature(maps):
    with Store.open([maps.session]) as store:
        found = gallery.read(store, FIVES, limit=3)
    for one in found.images:
        fires = maps.code[one.image - 100, :, FIVES].reshape(7, 7)
        assert np.array_equal(one.fires, fires) and fires[one.place] == one.value == fires.max()


def test_figures_of_images_are_counted_in_images_or_places(made, maps):
    for session, unit, counted in ((made.session, "images", 60), (maps.session, "places", 60 * 49)):
        with Store.open([session]) as store:
            found = card.read(store, FIVES)
            assert gallery.there(store) and (found.unit, found.counted) == (unit, counted)
    assert image_facts.unit({"model": "smollm2", "hook": "blocks.1.hook_resid_post"}) == "tokens"
    assert image_facts.unit({}) == "tokens"
