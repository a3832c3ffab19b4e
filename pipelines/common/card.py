"""The card of a release: README.md with the front matter that Hugging Face's hub reads, and the text for people.

The fields of the front matter are those of https://github.com/huggingface/hub-docs/blob/main/modelcard.md.
"""

import dataclasses
import json
import pathlib
import shlex
from typing import Any

from pipelines.common.config import flag, groups
from pipelines.common.files import read_json
from pipelines.common.runs import Run


@dataclasses.dataclass(frozen=True)
class DataSet:
    """A public data set.

    Attributes:
        title: its name and authors.
        terms: what its authors say about its use.
        source: its address.
        licence: for weights that were learned from it: an identifier of the hub, or "other".
        hub: its name on the hub; empty if it is not there.
    """

    title: str
    terms: str
    source: str
    licence: str = "other"
    hub: str = ""


@dataclasses.dataclass(frozen=True)
class Score:
    """A score of `evaluate`.

    Attributes:
        name: as the card shows it.
        metric: its name on the hub, such as sacrebleu.
        value: in the unit in which it is shown.
        places: decimal places.
    """

    name: str
    metric: str
    value: float
    places: int = 2

    def __str__(self) -> str:
        return f"{self.value:.{self.places}f}"


CELL_NAMES = {"lstm": "LSTM", "rnn": "vanilla RNN", "none": "no recurrent layer"}  # --cell, for people
SAMPLE = DataSet("the artificial data that is part of Unfold", "Apache-2.0", "", licence="apache-2.0")


@dataclasses.dataclass(frozen=True)
class Card:
    """The card of a release.

    Attributes:
        description: a release.Description.
        name: name of the release.
        run: the run that was trained.
        config: its configuration, without paths of the machine.
        public: the name of its data; None for data of one's own.
        tuned_on: the name of the data of fine-tuning.
        weights: the format and the SHA-256 of the weights.
        found: format of the weights -> what evaluate returned, first of the run.
        faults: limits and known faults.
    """

    description: Any
    name: str
    run: Run
    config: Any
    public: str | None
    tuned_on: str
    weights: dict
    found: dict[str, dict]
    faults: str

    @property
    def data(self) -> DataSet:
        """The data that the run was trained on."""
        known = {"sample": SAMPLE, **self.description.data_sets}
        return known.get(self.public or "", DataSet(self.config.data.location, "not known", "", licence="unknown"))

    @property
    def split(self) -> str:
        """The part of the data that the scores are of."""
        return self.found[self.weights["format"]]["split"]

    @property
    def scores(self) -> dict[str, list[Score]]:
        """The scores that are shown, format of the weights -> scores."""
        return {kind: self.description.scores(found) for kind, found in self.found.items()}

    def text(self) -> str:
        """Returns README.md."""
        stored = read_json(self.run.config_file)
        file, weights = self.run.weights_file.name, self.weights
        versions = [f"{package} {version}" for package, version in stored.get("versions", {}).items()]
        sections = {
            f"# {self.name}": self.description.about(self.config),
            "## Use": self.use(),
            "## Data": self.terms(),
            "## Training": self.training(),
            "## Scores": self.score_table(),
            "## Limits and known faults": self.faults or "None are listed.",
            "## Versions": ", ".join(versions),
            "## Weights": f"`{file}`: {weights['format']}, SHA-256 `{weights['sha256']}`",
        }
        body = "\n".join(f"{title}\n\n{section}\n" for title, section in sections.items())
        return f"---\n{yaml(self.front_matter())}---\n\n{body}"

    def front_matter(self) -> dict:
        """Returns the fields that the hub reads."""
        data, description = self.data, self.description
        licence: dict = {"license": data.licence}
        if data.licence == "other":
            licence |= {"license_name": "terms-of-the-data", "license_link": data.source}
        languages = description.languages(self.config)
        scores = self.scores[self.weights["format"]]
        metrics = [
            {"type": score.metric, "name": score.name, "value": round(score.value, score.places)} for score in scores
        ]
        dataset = data.hub or self.public or self.config.data.location
        result = {
            "task": {"type": description.hub_task},
            "dataset": {"type": dataset, "name": data.title, "split": self.split},
            "metrics": metrics,
        }
        return {
            **({"language": languages} if languages else {}),
            **licence,
            "library_name": "unfold",
            "pipeline_tag": description.hub_task,
            "tags": ["keras", "tensorflow", *description.tags],
            **({"datasets": [data.hub]} if data.hub else {}),
            "metrics": list(dict.fromkeys(score.metric for score in scores)),
            "model-index": [{"name": self.name, "results": [result]}],
        }

    def use(self) -> str:
        """Returns how the release is used, with examples of commands."""
        program = f"python -m pipelines.{self.description.pipeline}"
        lines = [f"{program} {each.replace('NAME', self.name)}" for each in self.description.use(self.config)]
        where = "\n".join(["```", *lines, "```"])
        return (
            f"The folder is a run of Unfold. If it is `saved_models/{self.name}` in a checkout, its name suffices;"
            f" otherwise give its path. The first use makes its export, a SavedModel that needs only TensorFlow."
            f"\n\n{where}"
        )

    def terms(self) -> str:
        """Returns what the data is, and the terms of its use."""
        if self.public is None:
            name = pathlib.PurePath(self.config.data.location).name
            return f"`{name}`, which is not public. Its terms are not known."
        data = self.data
        source = f" Source: <{data.source}>." if data.source else ""
        return f"`{self.public}`: {data.title}. Terms: {data.terms}. They hold for these weights as well.{source}"

    def training(self) -> str:
        """Returns the command that trained the run, the time and the machine."""
        run, summary = self.run, self.run.summary
        program = f"python -m pipelines.{self.description.pipeline}"
        base = getattr(self.config, "base", None)
        if base is not None:
            command = [program, "fine-tune --from", shlex.quote(str(base)), "--data", shlex.quote(self.tuned_on)]
        else:
            presets = self.description.presets
            preset = run.preset if run.preset and run.preset in presets else "sample"
            command = [program, self.description.train, preset, *options(self.config, presets[preset][1])]
        rest = " `config.json` has all options." if base is not None else ""
        epoch = f"The weights are those of epoch {summary['best_epoch']} of {summary['epochs']}."
        machine = f" on {summary['machine']}" if "machine" in summary else ""
        minutes = f"{summary['seconds'] / 60:.1f} minutes{machine}."
        return f"```\n{' '.join(command)}\n```\n\n{minutes} {epoch}{rest}"

    def score_table(self) -> str:
        """Returns a table of the scores before and after rounding."""
        kinds = list(self.scores)
        lines = [f"| `{self.config.data.location}`, {self.split} | {' | '.join(kinds)} |"]
        lines.append(f"| --- |{' --- |' * len(kinds)}")
        for row in zip(*self.scores.values(), strict=True):
            lines.append(f"| {row[0].name} | {' | '.join(map(str, row))} |")
        rounded = " float32 is before rounding." if len(kinds) > 1 else ""
        command = f"`python -m pipelines.{self.description.pipeline} evaluate --run {self.name} --split {self.split}`"
        measured = self.description.measured or command
        return "\n".join([*lines, "", f"Measured by {measured}.{rounded}"])


def options(config, default) -> list[str]:
    """Returns the arguments that change a configuration from a default one, quoted for a shell."""
    found = []
    inner = groups(type(config))
    for field in dataclasses.fields(config):
        value, before = getattr(config, field.name), getattr(default, field.name)
        if field.name in inner:
            found += options(value, before)
        elif value != before and field.name not in ("run", "base"):
            name = "--data" if field.name == "location" else flag(field.name)
            if isinstance(value, bool):
                found.append(name if value else name.replace("--", "--no-", 1))
            else:
                values = value if isinstance(value, tuple) else (value,)
                found += [name, *(shlex.quote(str(each)) for each in values)]
    return found


def yaml(value: dict, indent: int = 0) -> str:
    """Returns nested objects and lists of strings and numbers as YAML, with strings quoted as in JSON."""
    lines = []
    for key, each in value.items():
        pad = " " * indent
        if isinstance(each, dict):
            lines.append(f"{pad}{key}:\n{yaml(each, indent + 2)}")
        elif isinstance(each, list):
            lines.append(f"{pad}{key}:\n" + "".join(item(entry, indent) for entry in each))
        else:
            lines.append(f"{pad}{key}: {json.dumps(each, ensure_ascii=False)}\n")
    return "".join(lines)


def item(entry, indent: int) -> str:
    """Returns an element of a list."""
    pad = " " * indent
    if isinstance(entry, dict):
        return f"{pad}- {yaml(entry, indent + 2).lstrip(' ')}"
    return f"{pad}- {json.dumps(entry, ensure_ascii=False)}\n"
