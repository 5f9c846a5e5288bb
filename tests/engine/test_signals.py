import os
import signal
import threading

import pytest

from rfcn.engine.signals import StopRequest, stop_on_signals


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 138)]
)
def test_the_first_signal_is_a_request(number, code, capfd):
    with stop_on_signals() as stop:
        assert not stop
        assert stop.exit_code == 0
        os.kill(os.getpid(), number)
        assert stop
        assert stop.signal == number
        assert stop.exit_code == code
    assert number.name in capfd.readouterr().err


def test_the_second_signal_ends_the_process_at_once():
    with stop_on_signals():
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(SystemExit) as ended:
            os.kill(os.getpid(), signal.SIGINT)
    assert ended.value.code == 130


def test_the_handlers_before_are_put_back():
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with stop_on_signals():
        assert isinstance(signal.getsignal(signal.SIGTERM), StopRequest)
    assert {number: signal.getsignal(number) for number in before} == before


def test_dying_data_workers_do_not_interrupt_the_last_step():
    def handler(number, frame):
        raise RuntimeError("DataLoader worker is killed")

    before = signal.signal(signal.SIGCHLD, handler)
    try:
        with stop_on_signals():
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGCHLD)
        assert signal.getsignal(signal.SIGCHLD) is handler
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_a_nested_block_shares_the_request_and_leaves_the_handler():
    with stop_on_signals() as outer:
        with stop_on_signals() as inner:
            assert inner is outer
        os.kill(os.getpid(), signal.SIGTERM)
        assert outer.signal == signal.SIGTERM


def test_outside_the_main_thread_nothing_is_installed():
    seen = []

    def work() -> None:
        with stop_on_signals() as stop:
            seen.append((bool(stop), signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=work)
    before = signal.getsignal(signal.SIGTERM)
    thread.start()
    thread.join()
    assert seen == [(False, before)]


def test_a_forked_worker_leaves_the_decision_to_its_parent():
    with stop_on_signals() as stop:
        stop._pid += 1
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        assert not stop
