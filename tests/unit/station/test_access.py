from hypothesis import given
from hypothesis import strategies as st

from firmware.station.access import Code, CodeReader, Grant, Lockout, Policy, Refuse

CODES = (Code("street", "family", "1234"), Code("garage", "car", "77"), Code("street", "long", "12345678"))


def reader(codes=CODES, doors=("street", "garage"), outgoing=True, answered=True, lockout=None, **limits):
    policy = Policy(**limits)
    return CodeReader(
        codes, policy, lockout or Lockout(policy), source="101", doors=doors, outgoing=outgoing, answered=answered
    )


def type_keys(leg, keys, now=100.0, step=0.3):
    decisions = []
    for key in keys:
        decisions.append(leg.digit(key, now))
        now += step
    return [d for d in decisions if d is not None], now


def test_the_code_opens_its_door_at_the_last_key_when_it_can_be_no_longer_one():
    leg = reader(CODES[:2])
    decisions, _ = type_keys(leg, "1234")
    assert decisions == [Grant("street", "family")]


def test_a_code_that_begins_a_longer_one_waits_for_hash():
    decisions, _ = type_keys(reader(), "1234#")
    assert decisions == [Grant("street", "family")]


def test_a_code_that_begins_a_longer_one_opens_after_the_pause():
    leg = reader()
    decisions, now = type_keys(leg, "1234")
    assert decisions == []
    assert leg.next_deadline() is not None
    assert leg.handle_timer(now) is None
    assert leg.handle_timer(leg.next_deadline()) == Grant("street", "family")


def test_the_longer_code_opens_too():
    assert type_keys(reader(), "12345678")[0] == [Grant("street", "long")]


def test_a_code_hidden_in_a_run_of_digits_does_not_open():
    codes = CODES[:1]
    for run in ("91234", "99991234", "12312341234", "0" * 50 + "1234"):
        decisions, _ = type_keys(reader(codes, wrong_codes=1000), run, step=0.1)
        assert not any(isinstance(d, Grant) for d in decisions), run


def test_after_a_pause_the_right_code_opens():
    leg = reader(CODES[:1])
    decisions, now = type_keys(leg, "9999")
    assert [d.reason for d in decisions] == ["wrong code, 1 of 5"]
    assert type_keys(leg, "1234", now + 1.0)[0] == [Grant("street", "family")]


def test_star_starts_afresh():
    assert type_keys(reader(CODES[:1]), "99*1234")[0] == [Grant("street", "family")]
    assert type_keys(reader(CODES[:1]), "9999*1234")[0][-1] == Grant("street", "family")


def test_star_and_hash_are_keys_where_a_code_contains_them():
    leg = reader((Code("street", "button", "*1#"),))
    assert type_keys(leg, "*1#")[0] == [Grant("street", "button")]


def test_an_incomplete_code_is_refused_but_not_counted():
    leg = reader(CODES[:1])
    for attempt in range(10):
        decisions, _ = type_keys(leg, "12#", now=100.0 + 5 * attempt)
        assert decisions == [Refuse(reason="incomplete code")]


def test_a_key_after_the_timeout_begins_a_new_code():
    leg = reader(CODES[:1])
    type_keys(leg, "12", now=100.0)
    decisions, _ = type_keys(leg, "34", now=110.0)
    assert [d.reason for d in decisions] == ["incomplete code"]


def test_five_wrong_codes_lock_and_even_the_right_one_is_refused():
    leg = reader(CODES[:1])
    now = 100.0
    for _ in range(5):
        decisions, now = type_keys(leg, "9999#", now)
    assert decisions[0].locked_s == 30.0
    refused = type_keys(leg, "1234", now)[0]
    assert [type(d) for d in refused] == [Refuse]
    assert "locked" in refused[0].reason
    assert refused[0].door == "", "a locked station must not confirm a code"
    assert type_keys(leg, "1234", now + 31)[0] == [Grant("street", "family")]


def test_lockout_is_shared_by_all_legs_and_doubles_up_to_its_cap():
    policy = Policy(max_lockout_s=100.0)
    lockout = Lockout(policy)
    now, durations = 0.0, []
    for _ in range(4):
        for _ in range(5):
            leg = CodeReader(
                CODES[:1], policy, lockout, source="101", doors=["street"], outgoing=True, answered=True
            )
            decisions, now = type_keys(leg, "9999", now)
        durations.append(decisions[0].locked_s)
        now += decisions[0].locked_s + 1
    assert durations == [30.0, 60.0, 100.0, 100.0]


def test_wrong_codes_of_one_phone_lock_out_nobody_else_however_long_it_goes_on():
    policy = Policy()
    lockout = Lockout(policy)
    now = 100.0
    for _ in range(50):
        now += lockout.remaining_s("101", now) + 1
        for _ in range(policy.wrong_codes):
            assert lockout.count_wrong("101", now)[2] == 0.0
    assert lockout.remaining_s("101", now) == policy.max_lockout_s
    other = CodeReader(CODES[:1], policy, lockout, source="102", doors=["street"], outgoing=True, answered=True)
    assert type_keys(other, "1234", now)[0] == [Grant("street", "family")]


def test_three_phones_locked_at_once_lock_the_station_for_a_short_time_that_is_never_doubled():
    policy = Policy()
    lockout = Lockout(policy)
    now = 100.0
    for _ in range(10):
        now += max(lockout.remaining_s(source, now) for source in ("101", "102", "103")) + 1
        for source in ("101", "102", "103"):
            for _ in range(policy.wrong_codes):
                locked = lockout.count_wrong(source, now)
        assert locked[2] == policy.lockout_s
        assert lockout.remaining_s("104", now) == policy.lockout_s
    assert lockout.longest_s(now) == policy.max_lockout_s


def test_wrong_codes_of_a_call_that_came_in_count_for_nothing():
    policy = Policy()
    lockout = Lockout(policy)
    leg = CodeReader(CODES[:1], policy, lockout, source="101", doors=["street"], outgoing=False, answered=True)
    decisions, now = type_keys(leg, "9999#" * 20)
    assert decisions
    assert not any(d.wrong_codes for d in decisions)
    assert lockout.remaining_s("101", now) == 0.0


def test_a_leg_that_is_given_up_opens_nothing_any_more():
    leg = reader((*CODES[:2], Code("street", "long", "12345")))
    type_keys(leg, "1234")
    assert leg.next_deadline() is not None
    leg.close()
    assert leg.handle_timer(200.0) is None
    assert type_keys(leg, "1234#", 300.0)[0] == []


def test_one_call_opens_so_often_and_no_more():
    leg = reader(CODES[:1])
    decisions, _ = type_keys(leg, "1234" * 25)
    assert sum(isinstance(d, Grant) for d in decisions) == 20
    assert "20 times" in decisions[-1].reason


def test_lockout_starts_small_again_after_a_calm_time():
    lockout = Lockout(Policy())
    for _ in range(5):
        locked = lockout.count_wrong("101", 0.0)[1]
    for _ in range(5):
        again = lockout.count_wrong("101", 1000.0)[1]
    assert (locked, again) == (30.0, 30.0)


def test_wrong_codes_outside_the_window_do_not_lock():
    lockout = Lockout(Policy())
    assert all(lockout.count_wrong("101", 61.0 * n)[1] == 0.0 for n in range(20))


def test_endless_digits_end_in_the_lockout():
    decisions, _ = type_keys(reader(CODES[:1]), "5" * 100, step=0.1)
    assert not any(isinstance(d, Grant) for d in decisions)
    assert any(d.locked_s for d in decisions)


def test_code_before_the_answer_is_refused_unless_the_policy_allows_it():
    assert type_keys(reader(CODES[:1], answered=False), "1234")[0] == [
        Refuse(reason="code before the answer", door="street", code_name="family")
    ]
    leg = reader(CODES[:1], answered=False, unlock_while_ringing=True)
    assert type_keys(leg, "1234")[0] == [Grant("street", "family")]


def test_code_on_a_call_that_came_in_is_refused():
    decisions, _ = type_keys(reader(CODES[:1], outgoing=False), "1234")
    assert [type(d) for d in decisions] == [Refuse]


def test_code_of_a_door_that_the_button_does_not_open_is_refused():
    decisions, _ = type_keys(reader(CODES[:2], doors=["street"]), "77#")
    (refused,) = decisions
    assert (refused.door, refused.code_name) == ("garage", "car")
    assert refused.reason.startswith("this button does not open that door")
    assert refused.wrong_codes == 1, "or who is not locked for it learns that it is right elsewhere"


def test_without_codes_nothing_opens():
    decisions, _ = type_keys(reader(()), "0123456789#*12")
    assert decisions
    assert not any(isinstance(d, Grant) for d in decisions)


def test_codes_do_not_show_their_digits():
    assert "1234" not in repr(CODES[0])


@given(st.text(alphabet="0123456789ABCD", max_size=60), st.lists(st.floats(0.0, 0.99), min_size=60, max_size=60))
def test_a_run_of_keys_without_a_pause_opens_only_when_it_begins_with_the_code(keys, gaps):
    leg = reader(CODES[:1], wrong_codes=1000)
    now, granted = 0.0, []
    for key, gap in zip(keys, gaps, strict=False):
        now += gap
        granted.append(isinstance(leg.digit(key, now), Grant))
    if not keys.startswith("1234"):
        assert not any(granted)
    else:
        assert granted[3]
