import pytest

from bot.ports import Measurement


def make_measured(seconds, **overrides):
    plain = {"device": "cpu", "model": "fox", "dtype": "float32", "shape": "512x512", "batch_size": 1, "what": "step"}
    return Measurement(**{**plain, "seconds": seconds, **overrides})


async def mean_s(storage):
    [rate] = await storage.measurements.load_measurements()
    return rate.seconds


async def test_the_first_samples_count_alike(storage):
    for seconds in (1.0, 2.0, 6.0):
        await storage.measurements.record_measurement(make_measured(seconds))

    assert await mean_s(storage) == pytest.approx(3.0)


async def test_later_samples_weigh_at_least_a_twentieth(storage):
    for _ in range(200):
        await storage.measurements.record_measurement(make_measured(1.0))
    await storage.measurements.record_measurement(make_measured(21.0))

    assert await mean_s(storage) == pytest.approx(2.0)


async def test_a_mean_of_many_times_the_next_sample_is_forgotten(storage):
    for seconds in (10_000.0, 1.0, 2.0):
        await storage.measurements.record_measurement(make_measured(seconds))

    assert await mean_s(storage) == pytest.approx(1.5)


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), -1.0])
async def test_impossible_figures_are_not_kept(storage, seconds):
    await storage.measurements.record_measurement(make_measured(1.0))
    await storage.measurements.record_measurement(make_measured(seconds))

    assert await mean_s(storage) == 1.0


async def test_every_circumstance_has_its_own_mean(storage):
    samples = [
        make_measured(1.0),
        make_measured(2.0, batch_size=2),
        make_measured(3.0, what="load"),
        make_measured(4.0, shape=""),
    ]
    for sample in samples:
        await storage.measurements.record_measurement(sample)

    assert sorted(await storage.measurements.load_measurements(), key=lambda rate: rate.seconds) == samples


async def test_the_last_form_of_a_model_is_kept(storage):
    await storage.measurements.record_capabilities("fox", {"samplers": ["ddim"]})
    await storage.measurements.record_capabilities("owl", {"samplers": []})
    await storage.measurements.record_capabilities("fox", {"samplers": ["euler"], "revision": "r2"})

    assert await storage.measurements.load_capabilities() == {
        "fox": {"samplers": ["euler"], "revision": "r2"},
        "owl": {"samplers": []},
    }
