import logging
import random

import numpy as np
import pytest
import torch

from spectral_opt.integrations import draw_batches, draw_from_loader


class Collator:
    """Counts its calls and draws from a generator of its own, as collators that mask tokens do."""

    def __init__(self):
        self.calls = 0
        self.tokenizer = object()
        self.generator = torch.Generator().manual_seed(3)

    def __call__(self, items):
        self.calls += 1
        return torch.tensor(items) + torch.rand((), generator=self.generator)


def test_examples_are_drawn_without_replacement():
    drawn = draw_batches(range(10), list, batch_size=3, batches=4)
    assert [len(batch) for batch in drawn] == [3, 3, 3, 1]
    assert sorted(place for batch in drawn for place in batch) == list(range(10))


def test_no_batch_mixes_data_sets_that_stand_one_after_the_other():
    both = torch.utils.data.ConcatDataset([range(7), range(100, 105)])
    drawn = draw_batches(both, list, batch_size=3, batches=4)
    assert [len(batch) for batch in drawn] == [3, 3, 1, 3, 2]
    assert all(len({place >= 100 for place in batch}) == 1 for batch in drawn)
    assert sorted(place for batch in drawn for place in batch) == [*range(7), *range(100, 105)]


@pytest.mark.parametrize(
    ("given", "expected"),
    [({"batch_size": 4}, [4, 4, 2]), ({"batch_size": None}, [()] * 10)],
    ids=["batches", "ready batches"],
)
def test_a_loader_is_drawn_from_as_it_makes_batches(given, expected):
    loader = torch.utils.data.DataLoader(range(10), **given)
    drawn = draw_from_loader(loader, 16, 0)
    assert [len(batch) if given["batch_size"] else () for batch in drawn] == expected
    assert sorted(int(place) for batch in drawn for place in torch.as_tensor(batch).reshape(-1)) == list(
        range(10)
    )


class Fours:
    """A batch sampler of one's own, which states no size and draws from a generator of its own and from NumPy."""

    def __init__(self, sizes=(4, 4, 2)):
        self.sizes = sizes
        self.generator = torch.Generator().manual_seed(3)

    def __iter__(self):
        np.random.rand()  # noqa: NPY002
        places = torch.randperm(sum(self.sizes), generator=self.generator)
        yield from (part.tolist() for part in places.split(self.sizes))


@pytest.mark.parametrize("sampler", [Fours(), [[0, 1, 2, 3], [4, 5]]], ids=["a class", "a list"])
def test_a_batch_sampler_without_a_size_is_read_off_a_copy(sampler):
    pairs = [(torch.tensor(place), torch.tensor(-place)) for place in range(10)]
    loader = torch.utils.data.DataLoader(pairs, batch_sampler=sampler)
    np.random.seed(0)  # noqa: NPY002
    expected, _ = np.random.rand(), np.random.seed(0)  # noqa: NPY002
    drawn = draw_from_loader(loader, 2, 0)
    assert [[part.shape for part in batch] for batch in drawn] == [[(4,), (4,)]] * 2
    assert all(torch.equal(inputs, -targets) for inputs, targets in drawn)
    assert np.random.rand() == expected  # noqa: NPY002
    if isinstance(sampler, Fours):
        assert torch.equal(sampler.generator.get_state(), torch.Generator().manual_seed(3).get_state())


@pytest.mark.parametrize("sampler", [(part for part in [[0, 1]]), Fours(())], ids=["a generator", "none"])
def test_a_batch_sampler_that_tells_no_size_asks_for_batches(sampler):
    loader = torch.utils.data.DataLoader(range(10), batch_sampler=sampler)
    with pytest.raises(ValueError, match=rf"a {type(sampler).__name__}, has no batch_size, .* pass batches="):
        draw_from_loader(loader, 2, 0)


def test_the_same_seed_draws_the_same_and_another_does_not():
    first, second, other = (draw_batches(range(100), list, 4, 2, seed) for seed in (0, 0, 1))
    assert first == second != other


def test_global_random_states_stay_where_they_are_whatever_data_and_collator_draw():
    class Augmented:
        def __len__(self):
            return 8

        def __getitem__(self, place):
            return torch.rand(()).item() + random.random() + np.random.rand()  # noqa: NPY002

    random.seed(0)
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    expected = torch.rand(()).item(), random.random(), np.random.rand()  # noqa: NPY002
    random.seed(0)
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    draw_batches(Augmented(), lambda items: torch.tensor(items) + torch.rand(()), 2, 2)
    assert (torch.rand(()).item(), random.random(), np.random.rand()) == expected  # noqa: NPY002


def test_a_collator_with_a_generator_of_its_own_stays_as_it_is():
    collate = Collator()
    before = collate.generator.get_state()
    draw_batches(range(8), collate, 2, 2)
    assert collate.calls == 0
    assert torch.equal(collate.generator.get_state(), before)


def test_what_the_collator_shares_is_not_copied():
    collate, seen = Collator(), []

    class Watched(Collator):
        def __call__(self, items):
            seen.append(self.tokenizer)

    collate = Watched()
    draw_batches(range(4), collate, 2, 1, shared=(collate.tokenizer, None))
    assert seen[0] is collate.tokenizer


def test_a_bound_method_is_called_as_it_is():
    class Trainerlike:
        def collate(self, items):
            return id(self), items

    owner = Trainerlike()
    assert draw_batches(range(4), owner.collate, 4, 1)[0][0] == id(owner)


def test_a_stream_is_not_read():
    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            raise AssertionError("read")

    with pytest.raises(ValueError, match=r"a Stream has no length.*pass batches="):
        draw_batches(Stream(), list, 2, 2)


def test_an_empty_data_set_is_refused():
    with pytest.raises(ValueError, match="is empty; pass batches="):
        draw_batches([], list, 2, 2)


def test_what_was_drawn_is_logged(caplog):
    with caplog.at_level(logging.INFO):
        draw_batches(range(5), list, 2, 9, seed=4)
    assert "drew 3 calibration batches (5 of 5 examples, seed 4)" in caplog.text
