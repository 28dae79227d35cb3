"""A progress bar says so while JAX compiles."""

import threading

import jax
import pytest
from tqdm import tqdm

from launch import compiling


class Bar:
    """In the place of a tqdm bar."""

    def __init__(self):
        self.n, self.desc, self.disable = 0, "recovering", False

    def set_description_str(self, text):
        self.desc = text


@pytest.fixture
def watched():
    """A bar, its watch, and the time at which a first program began to be compiled."""
    bar = Bar()
    watch = compiling._Watch(bar)
    watch.listen(compiling._LOWERED, 0.1)
    return bar, watch, watch._began[threading.get_ident()]


def test_a_bar_says_that_programs_are_compiled_until_it_moves_on(watched):
    bar, watch, began = watched
    watch.look(began + compiling.SHOWN_SECONDS - 0.1)
    assert bar.desc == "recovering"
    watch.look(began + compiling.SHOWN_SECONDS + 0.1)
    assert bar.desc.startswith("compiling (")
    watch.listen(compiling._COMPILED, 20.0)
    watch.look(watch._ended + 1)
    assert bar.desc.startswith("compiling (")  # the next program is being traced
    bar.n = 1
    watch.look(watch._ended + 2)
    assert bar.desc == "recovering"


def test_a_bar_that_does_not_move_gets_its_own_text_back_after_a_while(watched):
    bar, watch, began = watched
    watch.look(began + compiling.SHOWN_SECONDS + 0.1)
    watch.listen(compiling._COMPILED, 20.0)
    watch.look(watch._ended + compiling.QUIET_SECONDS + 1)
    assert bar.desc == "recovering"


def test_programs_out_of_the_cache_are_not_mentioned(watched):
    bar, watch, began = watched
    for _ in range(5):
        watch.look(began + 1)
        watch.listen(compiling._COMPILED, 1.0)
        watch.listen(compiling._LOWERED, 0.1)
        watch.look(began + 1.5)
    assert bar.desc == "recovering"


def test_jax_says_when_it_begins_and_when_it_has_compiled():
    events = []
    listen = lambda event, *_, **__: events.append(event)  # noqa: E731
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        jax.jit(lambda x: 3 * x - 7)(2.0)
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert compiling._COMPILED in events[events.index(compiling._LOWERED) :]


def test_a_bar_is_watched_while_the_block_lasts(monkeypatch):
    monkeypatch.setattr(compiling, "SHOWN_SECONDS", 0.0)
    monkeypatch.setattr(compiling, "_LOOK_SECONDS", 0.001)
    bar, shown = Bar(), threading.Event()
    bar.set_description_str = lambda text: (setattr(bar, "desc", text), shown.set())
    with compiling.shown_on(bar):
        jax.monitoring.record_event_duration_secs(compiling._LOWERED, 0.1)
        assert shown.wait(60) and bar.desc.startswith("compiling")
    assert bar.desc == "recovering"


@pytest.mark.parametrize("bar", [None, tqdm(disable=True)], ids=["none", "disabled"])
def test_no_bar_is_watched_where_there_is_none(bar):
    with compiling.shown_on(bar):
        jax.monitoring.record_event_duration_secs(compiling._LOWERED, 0.1)
