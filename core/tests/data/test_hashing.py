import torch

from noisyrun.data import hashing

_MASK = (1 << 64) - 1


def _splitmix64(stream: int, counter: int) -> int:
    """The reference, in Python's unbounded integers."""
    x = (stream + (counter + 1) * 0x9E3779B97F4A7C15) & _MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
    return x ^ (x >> 31)


def test_bits_agree_with_the_published_generator():
    # The first three outputs of SplitMix64 with seed 1234567, as published with it.
    got = [b & _MASK for b in hashing.bits(1234567, torch.arange(3)).tolist()]
    assert got == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_bits_of_any_stream_and_counter_agree_with_plain_integers():
    counters = torch.tensor([0, 1, 2**40, 2**62])
    for stream in (0, 5, -7, hashing.key("noise", 3)):
        want = [_splitmix64(stream & _MASK, c) for c in counters.tolist()]
        assert [b & _MASK for b in hashing.bits(stream, counters).tolist()] == want
        assert int(hashing.bits(torch.tensor([stream]), 2**40)[0]) & _MASK == want[2]


def test_uniform_fills_the_unit_interval_evenly():
    values = hashing.uniform(hashing.key("even"), torch.arange(100_000))
    assert float(values.min()) >= 0
    assert float(values.max()) < 1
    counts = torch.histc(values, 20, 0, 1)
    assert float(((counts - 5000) ** 2 / 5000).sum()) < 45  # chi-squared, 19 degrees: p = 0.0007


def test_normal_has_mean_zero_and_deviation_one():
    values = hashing.normal(hashing.key("bell"), torch.arange(100_000))
    assert abs(float(values.mean())) < 0.02
    assert abs(float(values.std()) - 1) < 0.02


def test_below_reaches_every_number_and_no_other():
    assert hashing.below(hashing.key("dice"), torch.arange(1000), 6).unique().tolist() == [0, 1, 2, 3, 4, 5]


def test_order_of_some_samples_is_that_of_all_with_the_others_left_out():
    index = torch.arange(50) * 7
    stream = hashing.key("order", 0)
    whole = index[hashing.order(stream, index)]
    some = index[10:20]
    assert some[hashing.order(stream, some)].tolist() == [i for i in whole.tolist() if i in set(some.tolist())]


def test_keys_differ_by_every_word():
    assert len({hashing.key("a", 1), hashing.key("a", 2), hashing.key("b", 1), hashing.key("a", 1, 1)}) == 4


def test_digest_changes_with_values_shape_and_dtype():
    x = torch.arange(6)
    variants = [x, x.reshape(2, 3), x.int(), x + 1]
    assert len({hashing.digest(v) for v in variants}) == 4
    assert hashing.digest(x) == hashing.digest(x.clone().numpy())
