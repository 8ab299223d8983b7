"""How a job was done, for the viewer."""

from dataclasses import asdict
from datetime import timedelta

from bot.usecases.job_facts import read_facts
from tests.fakes import NOON, make_job, make_origin, make_result


def test_a_finished_job_says_how_it_was_done():
    job = make_job(
        origin=make_origin(platform="web", extra={"client": "a1111"}),
        options={
            "prompt": "ink drawing of a fox <lora:ink:0.8>",
            "prompts": ["a fox <lora:ink:0.8>", "a cat <lora:ink:0.8> <lora:fur>"],
            "asked": {"prompt": "a fox", "style": "ink"},
            "count": 2,
            "steps": 12,
            "guidance_scale": 4.5,
            "sampler": "euler",
            "schedule": "karras",
            "strength": 0.4,
        },
        result=make_result(seconds=3.25, device="cuda:0"),
        started_at=NOON + timedelta(seconds=2),
        finished_at=NOON + timedelta(seconds=6.5),
    )

    facts = asdict(read_facts(job))

    assert facts == {
        "platform": "web",
        "client": "a1111",
        "queue_s": 2.0,
        "took_s": 4.5,
        "device": "cuda:0",
        "device_s": 3.25,
        "style": "ink",
        "loras": [{"name": "ink", "weight": 0.8}, {"name": "fur", "weight": 1.0}],
        "sampler": "euler",
        "schedule": "karras",
        "steps": 12,
        "guidance_scale": 4.5,
        "strength": 0.4,
    }


def test_a_job_that_waits_has_few_facts():
    facts = asdict(read_facts(make_job(command="ask", options={"question": "What is it?"})))

    assert facts.pop("platform") == "web"
    assert facts.pop("loras") == []
    assert set(facts.values()) == {None}
