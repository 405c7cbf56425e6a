"""When something that died is started again, and when there is no hope."""

from cloudburst.restarts import HOPELESS, HOPELESS_WITHIN, LONGEST_DELAY, Lives, Restarts


def test_the_delay_grows_with_young_deaths() -> None:
    restarts = Restarts()

    delays = [restarts.delay(0.0) for _ in range(9)]

    assert delays == [0.0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, LONGEST_DELAY, LONGEST_DELAY]


def test_the_delay_is_bounded_however_often_it_dies() -> None:
    restarts = Restarts()

    assert max(restarts.delay(0.0) for _ in range(5000)) == LONGEST_DELAY


def test_a_long_life_is_followed_by_another_at_once() -> None:
    lives = Lives()
    lives.begin(0.0)
    assert lives.due is None

    assert lives.end(100.0)

    assert lives.due == 100.0
    lives.begin(100.0)
    assert lives.due is None


def test_who_dies_young_is_not_started_at_once_again() -> None:
    lives = Lives()
    lives.begin(0.0)
    assert lives.end(0.5)
    lives.begin(0.5)

    assert lives.end(1.0)

    assert lives.due == 1.1


def test_what_dies_over_and_over_is_given_up() -> None:
    lives = Lives()
    verdicts = []
    for death in range(HOPELESS):
        lives.begin(death * 2.0)
        verdicts.append(lives.end(death * 2.0 + 1.5))

    assert verdicts == [True] * (HOPELESS - 1) + [False]


def test_what_dies_now_and_then_is_never_given_up() -> None:
    lives = Lives()
    for death in range(100):
        now = death * (HOPELESS_WITHIN / (HOPELESS - 1) + 0.1)
        lives.begin(now)
        assert lives.end(now), f"death {death}"
