import pytest

from bot.jobs import ID_ALPHABET, TRANSITIONS, JobState, Origin, new_job_id

FINAL = {JobState.RENDERED, JobState.DELIVERED, JobState.FAILED, JobState.CANCELLED, JobState.DEAD}


def test_an_id_is_16_lower_case_base32_characters():
    job_id = new_job_id()

    assert len(job_id) == 16
    assert set(job_id) <= set(ID_ALPHABET)
    assert len(set(ID_ALPHABET)) == 32


def test_ids_do_not_repeat():
    assert len({new_job_id() for _ in range(1000)}) == 1000


def test_every_state_has_a_line_in_the_table():
    assert set(TRANSITIONS) == set(JobState)


@pytest.mark.parametrize("state", [JobState.DELIVERED, JobState.FAILED, JobState.CANCELLED, JobState.DEAD])
def test_a_terminal_state_has_no_exit(state):
    assert TRANSITIONS[state] == frozenset()


def test_a_rendered_job_can_only_be_delivered():
    assert TRANSITIONS[JobState.RENDERED] == {JobState.DELIVERED}


def test_no_state_leads_to_itself():
    assert not any(state in exits for state, exits in TRANSITIONS.items())


def test_every_state_can_be_reached_from_queued():
    reached, fresh = set(), {JobState.QUEUED}
    while fresh:
        reached |= fresh
        fresh = {state for before in fresh for state in TRANSITIONS[before]} - reached

    assert reached == set(JobState)


def test_only_a_running_job_goes_back_to_the_queue():
    assert {state for state, exits in TRANSITIONS.items() if JobState.QUEUED in exits} == {JobState.RUNNING}


@pytest.mark.parametrize("state", JobState)
def test_final_is_whatever_nothing_more_is_computed_for(state):
    assert state.is_final == (state in FINAL)


@pytest.mark.parametrize(
    ("space", "account", "is_shared"),
    [
        ("guild", "1", True),
        ("dm:1", "1", False),
        ("-100", "1", True),
        ("-100", "-100", True),
        ("1", "1", False),
        ("", "1", False),
    ],
)
def test_others_read_along_in_servers_and_groups(space, account, is_shared):
    assert Origin(platform="chat", space_id=space, account_id=account, chat_id="7").is_shared is is_shared
    assert not Origin(platform="web", space_id="web", account_id=account).is_shared
