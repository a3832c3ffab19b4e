"""Parts that all tabs share: the choice of a model, the sentence about a fault, and examples that a click runs."""

import logging
import traceback
from collections.abc import Callable, Iterator, Sequence

import gradio

from pipelines.app import markup
from pipelines.app.models import Found, Models
from pipelines.common.errors import UserError

LOG = logging.getLogger("pipelines.app")
PRIVATE = {"api_visibility": "private"}


class Tab:
    """The upper part of a tab, and how its answers are computed.

    Attributes:
        model: the field with the name of the model.
        message: the sentence about what is wrong, or that a model is being loaded.
    """

    def __init__(self, models: Models, task: str):
        self.models, self.task = models, task
        self.chosen = None  # the event that follows the choice of an example
        names = [each.name for each in models.of(task)]
        self.model = gradio.Dropdown(
            [(name.removeprefix(f"{task}-"), name) for name in names], value=names[0], label="Model",
            visible=len(names) > 1, elem_id=f"{task}-model",
        )  # fmt: skip
        self.message = gradio.HTML(elem_id=f"{task}-message")

    @property
    def found(self) -> list[Found]:
        return self.models.of(self.task)

    def answer(self, triggers: Sequence, compute: Callable, inputs: Sequence, outputs: Sequence, **options):
        """Shows compute(model, *inputs) in the outputs. If it raises UserError, they are emptied, and the message is
        its sentence."""
        count = len(outputs)
        texts = [each for each in outputs if isinstance(each, gradio.HTML)]

        def call(name: str, *values) -> Iterator[list]:
            if name not in self.models.loaded:
                yield [markup.note(f"Loading the model {name} …"), *[gradio.skip()] * count]
            message, *found = self.call(compute, count, name, values)
            yield [message, *map(seen, outputs, found)]

        shared = {"concurrency_id": self.task, "concurrency_limit": 1, "show_progress_on": texts, **PRIVATE}
        ends = [self.model, *inputs], [self.message, *outputs]
        gradio.on(triggers, call, *ends, **shared, **options)
        if self.chosen is not None:
            self.chosen.then(call, *ends, **shared, **options)

    def call(self, compute: Callable, count: int, name: str, values: Sequence) -> list:
        """Returns the message and the values of the outputs."""
        try:
            model = self.models.get(name)
            with self.models.calls[self.task]:
                return ["", *compute(model, *values)]
        except UserError as error:
            return [markup.fault(str(error)), *[None] * count]
        except Exception as error:  # its message may quote texts of users: it is not logged
            where = traceback.extract_tb(error.__traceback__)[-1]
            LOG.error("%s failed: %s in %s, line %s", self.task, type(error).__name__, where.filename, where.lineno)
            return [markup.fault("the page failed: its log has the reason"), *[None] * count]

    def examples(self, field, samples_of: Callable[[Found], list]) -> gradio.Dataset:
        """Shows the examples of the chosen model. A click puts one into the field, and then does what
        `answer` says, which has to be called later.

        Args:
            samples_of: returns the values of the field.
        """
        samples = {each.name: samples_of(each) for each in self.found}
        first = samples[self.found[0].name]
        shown = gradio.Dataset(
            label="Examples", components=[field], samples=[[value] for value in first], type="index",
            samples_per_page=12, visible=bool(first), elem_id=f"{self.task}-examples",
        )  # fmt: skip
        self.model.change(
            lambda name: gradio.Dataset(samples=[[value] for value in samples[name]], visible=bool(samples[name])),
            self.model, shown, **PRIVATE,
        )  # fmt: skip
        self.chosen = shown.click(lambda name, number: samples[name][number], [self.model, shown], field, **PRIVATE)
        return shown


def picture(elem_id: str) -> gradio.Image:
    """Returns a field for a picture, which is hidden as long as there is none. Gradio's label would cover it."""
    return gradio.Image(
        show_label=False, interactive=False, visible=False, format="png", buttons=["download", "fullscreen"],
        elem_id=elem_id,
    )  # fmt: skip


def seen(field, value):
    """Returns a value for a field. Pictures and videos are hidden if there is none."""
    return value if isinstance(field, gradio.HTML) else type(field)(value=value, visible=value is not None)


def missing(task: str, example: str):
    """Says how to make a model of a task."""
    gradio.Markdown(
        f"There is no model of {task} yet: `python -m pipelines.{task} train sample` trains one on the embedded sample"
        f" data, and this page shows it when it is started again. {example}"
    )
