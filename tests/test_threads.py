"""How threads wait: set for the user, unless the user chose."""

from recctl.threads import wait_shortly


def test_a_waiting_thread_sleeps_soon() -> None:
    environment: dict[str, str] = {}
    wait_shortly(environment)
    assert environment == {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "5000"}


def test_what_the_user_chose_stays() -> None:
    for chosen in ({"OMP_WAIT_POLICY": "ACTIVE"}, {"OMP_WAIT_POLICY": ""}):
        environment = dict(chosen)
        wait_shortly(environment)
        assert environment == chosen
    environment = {"GOMP_SPINCOUNT": "1"}
    wait_shortly(environment)
    assert environment == {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "1"}
