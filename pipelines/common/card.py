"""The card of a release: README.md with the front matter that Hugging Face's hub reads, and the text for people.

The fields of the front matter are those of https://github.com/huggingface/hub-docs/blob/main/modelcard.md.
"""

import dataclasses
import json
import pathlib
import shlex

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


SAMPLE = DataSet("the artificial data that is part of Unfold", "Apache-2.0", "", licence="apache-2.0")


def text(
    description,
    name: str,
    run: Run,
    config,
    public: str | None,
    weights: dict,
    scores: dict,
    faults: str,
    tuned_on: str,
) -> str:
    """Returns the card of a release.

    Args:
        description: a release.Description.
        name: name of the release.
        run: the run that was trained.
        config: its configuration, without paths of the machine.
        public: the name of its data; None for data of one's own.
        weights: the format and the SHA-256 of the weights.
        scores: format of the weights -> what evaluate returned, first of the run.
        faults: limits and known faults.
        tuned_on: the name of the data of fine-tuning.
    """
    known = {"sample": SAMPLE, **description.data_sets}
    data = known.get(public or "", DataSet(config.data.location, "not known", "", licence="unknown"))
    shown = {kind: description.scores(found) for kind, found in scores.items()}
    found = scores[weights["format"]]
    matter = front_matter(description, name, config, public, data, shown[weights["format"]], found["split"])
    stored = read_json(run.config_file)
    sections = {
        f"# {name}": description.about(config),
        "## Use": use(description, name, config),
        "## Data": data_section(public, config, data),
        "## Training": training(description, run, config, tuned_on),
        "## Scores": score_table(description, name, config, found["split"], shown),
        "## Limits and known faults": faults or "None are listed.",
        "## Versions": ", ".join(f"{package} {version}" for package, version in stored.get("versions", {}).items()),
        "## Weights": f"`{run.weights_file.name}`: {weights['format']}, SHA-256 `{weights['sha256']}`",
    }
    body = "\n".join(f"{title}\n\n{section}\n" for title, section in sections.items())
    return f"---\n{yaml(matter)}---\n\n{body}"


def front_matter(
    description, name: str, config, public: str | None, data: DataSet, scores: list[Score], split: str
) -> dict:
    """Returns the fields that the hub reads."""
    licence: dict = {"license": data.licence}
    if data.licence == "other":
        licence |= {"license_name": "terms-of-the-data", "license_link": data.source}
    languages = description.languages(config)
    metrics = [
        {"type": score.metric, "name": score.name, "value": round(score.value, score.places)} for score in scores
    ]
    result = {
        "task": {"type": description.hub_task},
        "dataset": {"type": data.hub or public or config.data.location, "name": data.title, "split": split},
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
        "model-index": [{"name": name, "results": [result]}],
    }


def use(description, name: str, config) -> str:
    lines = [
        f"python -m pipelines.{description.pipeline} {each.replace('NAME', name)}" for each in description.use(config)
    ]
    where = "\n".join(["```", *lines, "```"])
    return (
        f"The folder is a run of Unfold. If it is `saved_models/{name}` in a checkout, its name suffices;"
        f" otherwise give its path. The first use makes its export, a SavedModel that needs only TensorFlow.\n\n{where}"
    )


def data_section(public: str | None, config, data: DataSet) -> str:
    if public is None:
        return f"`{pathlib.PurePath(config.data.location).name}`, which is not public. Its terms are not known."
    source = f" Source: <{data.source}>." if data.source else ""
    return f"`{public}`: {data.title}. Terms: {data.terms}. They hold for these weights as well.{source}"


def training(description, run: Run, config, tuned_on: str) -> str:
    """Returns the command that trained the run, the time and the machine."""
    summary = run.summary
    program = f"python -m pipelines.{description.pipeline}"
    base = getattr(config, "base", None)
    if base is not None:
        command = [program, "fine-tune --from", shlex.quote(str(base)), "--data", shlex.quote(tuned_on)]
    else:
        preset = run.preset if run.preset and run.preset in description.presets else "sample"
        command = [program, description.train, preset, *options(config, description.presets[preset][1])]
    rest = " `config.json` has all options." if base is not None else ""
    epoch = f"The weights are those of epoch {summary['best_epoch']} of {summary['epochs']}."
    machine = f" on {summary['machine']}" if "machine" in summary else ""
    minutes = f"{summary['seconds'] / 60:.1f} minutes{machine}."
    return f"```\n{' '.join(command)}\n```\n\n{minutes} {epoch}{rest}"


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


def score_table(description, name: str, config, split: str, shown: dict[str, list[Score]]) -> str:
    """Returns a table of the scores before and after rounding."""
    before, after = next(iter(shown.values())), list(shown.values())[-1]
    kinds = list(shown)
    lines = [f"| `{config.data.location}`, {split} | {' | '.join(kinds)} |", f"| --- |{' --- |' * len(kinds)}"]
    for one, other in zip(before, after, strict=True):
        values = [one] if len(kinds) == 1 else [one, other]
        lines.append(f"| {one.name} | {' | '.join(map(str, values))} |")
    rounded = " float32 is before rounding." if len(kinds) > 1 else ""
    measured = description.measured.replace("NAME", name).replace("SPLIT", split)
    return "\n".join([*lines, "", f"Measured by {measured}.{rounded}"])


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
