import pytest

from rfcn.engine.schedule import Schedule, describe_scaling, one_after_another, scaled

PAPER = Schedule(lr=1e-3, iterations=30_000, lr_steps=(20_000,), warmup_iterations=1000)


def test_rate_of_every_step_by_hand():
    schedule = Schedule(1.0, 10, (6, 8), 0.1, warmup_iterations=4, warmup_factor=0.2)
    expected = [0.2, 0.4, 0.6, 0.8, 1.0, 1.0, 0.1, 0.1, 0.01, 0.01]
    assert [schedule.lr_at(step) for step in range(1, 11)] == pytest.approx(expected)


def test_without_warm_up_the_first_step_has_the_full_rate():
    assert Schedule(0.5, 3).lr_at(1) == 0.5


def test_a_drop_inside_the_warm_up_multiplies():
    schedule = Schedule(1.0, 10, (1,), 0.1, warmup_iterations=2, warmup_factor=0.5)
    assert schedule.lr_at(2) == pytest.approx(0.1 * 0.75)


def test_the_paper_on_one_card_sees_the_same_pictures():
    assert scaled(PAPER, 8, 1) == Schedule(
        lr=1.25e-4,
        iterations=240_000,
        lr_steps=(160_000,),
        lr_gamma=0.1,
        warmup_iterations=8000,
        warmup_factor=0.1,
    )


def test_larger_batches_take_fewer_steps_rounded_to_the_nearest():
    new = scaled(Schedule(0.1, 10, (5, 7), warmup_iterations=1), 2, 4)
    assert (new.lr, new.iterations, new.lr_steps, new.warmup_iterations) == (0.2, 5, (3, 4), 1)


def test_drops_that_rounding_makes_meaningless_fall_away():
    new = scaled(Schedule(0.1, 10, (7, 8, 9), warmup_iterations=9), 1, 8)
    assert new.iterations == 1
    assert new.lr_steps == ()
    assert new.warmup_iterations == 0


def test_nothing_is_said_or_changed_for_the_same_batch():
    assert scaled(PAPER, 8, 8) is PAPER
    assert describe_scaling(PAPER, 8, 8) is None


def test_the_line_names_every_number_that_changed():
    line = describe_scaling(PAPER, 8, 2)
    assert line is not None
    assert "\n" not in line
    for words in (
        "from 8 to 2 pictures",
        "lr 0.001 -> 0.00025",
        "iterations 30000 -> 120000",
        "[20000] -> [80000]",
        "warm-up 1000 -> 4000",
    ):
        assert words in line


def test_one_after_another_each_keeps_its_rates():
    each = [
        Schedule(1.0, 4, (2,), warmup_iterations=2, warmup_factor=0.5),
        Schedule(3.0, 3, (), warmup_iterations=1, warmup_factor=0.2),
        Schedule(5.0, 2, (1,)),
    ]
    alone = [one.lr_at(step) for one in each for step in range(1, one.iterations + 1)]
    row = one_after_another(each)
    assert [(one.begins_after, one.iterations) for one in row] == [(0, 4), (4, 7), (7, 9)]
    through = [one.lr_at(s) for one in row for s in range(one.begins_after + 1, one.iterations + 1)]
    assert through == alone == pytest.approx([0.5, 0.75, 0.1, 0.1, 0.6, 3.0, 3.0, 5.0, 0.5])
    assert one_after_another(each[:1]) == each[:1]
