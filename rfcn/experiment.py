"""A training run: from a config to weights, figures and pictures in one folder."""

import math
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from signal import Signals
from typing import Any

import torch

from rfcn.assessment import assess, detections_file, rescore
from rfcn.build import (
    build_detector,
    build_skipped,
    build_train_loader,
    find_device,
    start_from,
)
from rfcn.config.loader import config_from_mapping, dump_config, stored_config
from rfcn.config.schema import Config
from rfcn.datasets.sample import Dataset
from rfcn.engine.checkpoint import capture, checkpoints, restore, save_checkpoint
from rfcn.engine.distributed import World, check_parts, join_world, own_device, restarted
from rfcn.engine.ema import WeightAverage
from rfcn.engine.environment import create_run_folder, describe_environment
from rfcn.engine.lock import only_run_in
from rfcn.engine.precision import Precision
from rfcn.engine.quiet_log import open_log
from rfcn.engine.resume import change_of_processes, check_same_config, find_checkpoint
from rfcn.engine.signals import Stopped, stop_on_signals
from rfcn.engine.step import Manner
from rfcn.engine.train import Milestones, train
from rfcn.engine.weights import check_classes
from rfcn.evaluation.result import Result
from rfcn.inference.detector import Detector
from rfcn.ops.library import backend_on
from rfcn.running.data import data_sets
from rfcn.running.machine import prepare
from rfcn.running.pictures import draw_targets, has_looked_back, look_back
from rfcn.running.replay import facts_of
from rfcn.running.weights import KeptWeights
from rfcn.stages import INITIAL, Course, Stage, plan_stages, stage_of


def run_experiment(
    config: Config, output: Path, *, resume: bool = False, overwrite: bool = False
) -> Result | int | None:
    """Train and evaluate what `config` says, in the folder `output`.

    Args:
        resume: go on from the newest good checkpoint of the folder.
        overwrite: empty the folder of an earlier run first.

    Returns:
        The last evaluation; or the number of the signal that ended the run before it; or nothing,
        in a process that does not lead.

    Raises:
        RFCNError: any fault of config, data, weights or machine, each with its remedy.
    """
    device = own_device(find_device(config.runtime.device))
    with join_world(device, timeout=config.runtime.timeout) as world:
        check_parts(config.train.batch_size, config.train.accumulate, world)
        world.check_same(dump_config(config), "the config")
        train_set, val_set = data_sets(config)
        world.check_same("\n".join((*train_set.ids, *val_set.ids)), "the list of pictures")
        if restarted():  # by torchrun, after a process died: the run of a moment ago goes on
            resume = bool(checkpoints(output / "checkpoints"))
            overwrite = not resume and (output / "config.yaml").is_file()
        if world.leads:
            create_run_folder(
                output,
                config_text=dump_config(config),
                environment=describe_environment(device=device, ops_backend=backend_on(device)),
                resume=resume,
                overwrite=overwrite,
            )
        world.share("the folder is there")
        with only_run_in(output) if world.leads else nullcontext():
            state = find_checkpoint(output / "checkpoints", world, print) if resume else None
            return Experiment(config, output, device, train_set, val_set, state, world).run()


class Experiment:
    """The parts of a run, and what happens between its steps."""

    def __init__(
        self,
        config: Config,
        output: Path,
        device: torch.device,
        train_set: Dataset,
        val_set: Dataset,
        state: dict[str, Any] | None = None,
        world: World | None = None,
    ) -> None:
        """state: the checkpoint to go on from, which also holds what the backbone starts with.
        world: the processes of the run; this one alone."""
        self.world = World() if world is None else world
        self.config = config
        self.output = output
        self.device = device
        self.train_set = train_set
        self.val_set = val_set
        self.weights = KeptWeights(output, config, train_set.class_names, self.world)
        self.stages = plan_stages(config.train)
        self.iterations = self.stages[-1].schedule.iterations
        torch.manual_seed(config.runtime.seed)
        fine_tunes = config.train.start_from is not None
        self.model = build_detector(
            config.model, train_set.class_names, pretrained=state is None and not fine_tunes
        )
        self.remarks = prepare(self.model, config.runtime, device)
        self.course = Course(self.model, self.weights.read)
        self.precision = Precision(config.train.precision, device.type)
        self.average: WeightAverage | None = None
        self.start_step = 0
        self.evaluated = 0
        self.best: float | None = None
        self.ranked_by: str | None = None
        self.resumed: dict[str, Any] = {} if state is None else state["extra"]
        self.result: Result | None = None
        if state is not None:
            self._take_up(state)
            return
        if config.train.start_from is not None:
            self.remarks += start_from(self.model, train_set.class_names, config.train.start_from)
        self.course.enter(self.stages[0])
        self._follow_weights()

    def _take_up(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        check_classes(self.train_set.class_names, state["extra"]["classes"])
        # what the checkpoint's version did not know yet was as it is by default
        written = config_from_mapping(state["extra"]["config"], source="the checkpoint's config")
        self.remarks += check_same_config(
            written.model_dump(mode="json"), self.config.model_dump(mode="json")
        )
        self.remarks += change_of_processes(self.resumed.get("processes"), self.world.size)
        self.course.enter(stage_of(self.stages, state["step"]))
        self._follow_weights()
        self.start_step, self.best = restore(
            state,
            self.model,
            self.course.optimizer,
            precision=self.precision,
            average=self.average,
        )
        self.evaluated = state["extra"]["evaluated"]
        self.ranked_by = state["extra"].get("ranked_by")

    def _follow_weights(self) -> None:
        """Begin the moving average, of what learns in this stage."""
        decay = self.config.train.ema_decay
        self.average = None if decay is None else WeightAverage(self.model, decay)

    def _averaged(self) -> AbstractContextManager[None]:
        """Inside, the model has the weights that count: their average, where there is one."""
        return nullcontext() if self.average is None else self.average.in_place()

    def run(self) -> Result | int | None:
        """Train to the end of the schedule, evaluating on the way and at the end."""
        if self.evaluated >= self.iterations:
            return self._show_again()
        with open_log(
            self.output,
            self.world.rank,
            iterations=self.iterations,
            every=self.config.runtime.log_every,
            start_step=self.start_step,
            before=self.resumed.get("log"),
            tensorboard=self.config.runtime.tensorboard,
            facts=facts_of(self.config, self.train_set),
        ) as self.log:
            self.skipped = build_skipped(
                self.config.data, self.train_set, self.log.warn, said="another takes the place of"
            )
            self._introduce()
            if self.world.leads:
                sheet = draw_targets(self.config, self.train_set, self.output, self.skipped)
                if sheet is not None:
                    self.log.picture("pictures/targets", sheet, self.start_step)
            with stop_on_signals() as self.stop:
                try:
                    stopped_by = self._train()
                except Stopped:  # in an evaluation, before which a checkpoint was kept
                    stopped_by = Signals(self.world.most(self.stop.signal or 0))
                    self.log.say(
                        "stopped while evaluating, nothing is lost: give the same command with "
                        "--resume to go on"
                    )
            if summary := self.skipped.summary():
                self.log.say(f"note: {summary} Others took their places in training.")
        if stopped_by is not None:
            return int(stopped_by)
        if not self.world.leads:
            return None
        assert self.result is not None
        self._look_back()
        return self.result

    def _show_again(self) -> Result | None:
        """Of a complete run: the last evaluation; and what it was to leave, if it was killed
        before."""
        if not self.world.leads:
            return None
        print(f"{self.output}: already complete, {self.start_step} steps.")
        self.result = rescore(self.val_set, self.config, detections_file(self.output))
        if not has_looked_back(self.output, self.config):
            self._look_back()
        return self.result

    def _look_back(self) -> None:
        """Draw and analyse what has come out."""
        with self._averaged():
            look_back(self._detector(), self.val_set, self.output, self.result)

    def _train(self) -> Signals | None:
        """Make up for an evaluation that was not finished, then train to the end."""
        if self._owes_evaluation():
            self._evaluate(self.start_step)
            self._save(self.start_step)
        if self.start_step == 0 and len(self.stages) > 1:
            self.weights.keep(INITIAL, self.model.state_dict(), 0, {})
        stopped_by = self._train_stage(self.start_step)
        for stage in self.stages[self.course.stage.number :]:
            if stopped_by is not None:
                break
            self._end_stage()
            self.course.go_on_to(stage)
            self._follow_weights()
            self._introduce_stage(stage)
            stopped_by = self._train_stage(stage.schedule.begins_after)
        return stopped_by

    def _train_stage(self, start_step: int) -> Signals | None:
        """Train to the end of the stage; detectors of earlier ones are not whole, so that only in
        the last is there something to evaluate."""
        stage = self.course.stage
        return train(
            self.course.trainer,
            build_train_loader(
                self.config,
                self.train_set,
                start_step=start_step,
                skipped=self.skipped,
                rank=self.world.rank,
                processes=self.world.size,
            ),
            optimizer=self.course.optimizer,
            schedule=stage.schedule,
            log=self.log,
            milestones=Milestones(
                save=self._save,
                save_every=self.config.runtime.checkpoint_every,
                evaluate=self._evaluate if self._is_last(stage) else None,
                evaluate_every=self.config.eval.every,
            ),
            start_step=start_step,
            manner=Manner(
                self.config.train.max_gradient_norm,
                self.config.train.accumulate,
                self.world,
                self.precision,
                self.average,
            ),
        )

    def _end_stage(self) -> None:
        """Keep what a stage has come to, for those after it: its average, where there is one."""
        stage = self.course.stage
        if self.average is not None:
            self.average.take_over()
        last = stage.schedule.iterations
        self.weights.keep(stage.weights, self.model.state_dict(), last, {})

    def _is_last(self, stage: Stage) -> bool:
        return stage is self.stages[-1]

    def _owes_evaluation(self) -> bool:
        """Whether the run that is resumed ended before or in the evaluation of its last step."""
        every, step = self.config.eval.every, self.start_step
        due = step == self.iterations or (every > 0 and step % every == 0)
        return due and self._is_last(self.course.stage) and self.evaluated < step

    def _introduce(self) -> None:
        """Say what is about to happen, and what was changed or dropped on the way here."""
        names = self.train_set.class_names
        self.log.say(
            f"training on {len(self.train_set)} pictures, evaluating on {len(self.val_set)}; "
            f"{len(names)} classes: {', '.join(names)}"
        )
        for note in (*self.train_set.notes, *self.val_set.notes, *self.remarks):
            self.log.say(f"note: {note}")
        self._introduce_stage(self.course.stage)
        if self.start_step:
            self.log.say(f"going on after step {self.start_step}")
        self.log.text("config", dump_config(self.config))

    def _introduce_stage(self, stage: Stage) -> None:
        """Say what a stage does, and number the lines of the log where there are several."""
        for line in stage.describe(len(self.stages)):
            self.log.say(line)
        if len(self.stages) > 1:
            self.log.stage(stage.number, of=len(self.stages), until=stage.schedule.iterations)

    def _save(self, step: int) -> None:
        if not self.world.leads:
            return
        extra = {
            "classes": list(self.train_set.class_names),
            "config": stored_config(self.config),
            "evaluated": self.evaluated,
            "ranked_by": self.ranked_by,
            "log": self.log.state(),
            "processes": self.world.size,
        }
        state = capture(
            self.model,
            self.course.optimizer,
            step=step,
            best=self.best,
            extra=extra,
            precision=self.precision,
            average=self.average,
        )
        save_checkpoint(self.output / "checkpoints", state, step)

    def _evaluate(self, step: int) -> None:
        """Measure, unless that fails and the config would rather go on training."""
        tolerant = self.config.eval.on_failure == "continue" and self.world.size == 1
        try:
            with self._averaged():
                self._measure(step)
        except Stopped:
            raise
        except Exception as fault:
            if not tolerant or step == self.iterations:
                raise
            self.log.warn(f"the evaluation after step {step} failed, training goes on: {fault}")

    def _measure(self, step: int) -> None:
        """Measure, keep the weights as the last and, where they are, as the best."""
        self.result = assess(
            self.model,
            self.val_set,
            self.config,
            device=self.device,
            output=self.output,
            after_picture=self.stop.check,
            say=self.log.warn,
            world=self.world,
        )
        self.evaluated = step
        figures, headline = self._tell(self.result, step)
        self.weights.keep("last", self.model.state_dict(), step, figures)
        headline = self.world.share(headline)
        if headline is not None and math.isnan(headline):  # it would be the best for ever
            headline = None
        if headline is not None and (self.best is None or headline > self.best):
            self.best = headline
            self.weights.keep("best", self.model.state_dict(), step, figures)

    def _tell(self, result: Result | None, step: int) -> tuple[dict[str, float], float | None]:
        """Write the figures of an evaluation down; those, and the one that decides what is best.
        Nothing in a process that does not lead."""
        if result is None:
            return {}, None
        figures = result.summary()
        self.log.scalars({f"val/{name}": figure for name, figure in figures.items()}, step)
        self.log.say(
            f"step {step} "
            + " ".join(f"{name} {value:.3f}" for name, value in figures.items() if "/" not in name)
        )
        name, headline = result.headline
        if self.ranked_by not in (None, name):  # resumed with another metric: not to be compared
            self.best = None
        self.ranked_by = name
        return figures, headline

    def _detector(self) -> Detector:
        """The trained detector, as others use it."""
        return Detector(
            self.model,
            class_names=self.train_set.class_names,
            config=self.config,
            device=self.device,
        )
