"""The REST interface beside the page: one address, one guard, one set of models."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from pipelines.app.models import Models
from pipelines.app.server import Narrow
from pipelines.serve.app import Service
from pipelines.serve.guard import Hosts
from pipelines.serve.limits import Limits
from pipelines.serve.pending import END, LOADING, Pending

if TYPE_CHECKING:
    from pipelines.serve.models import Model


class Shared(Mapping):
    """The models of the page as the server names them: TASK-FOLDER, and the first of each task TASK as well."""

    def __init__(self, models: Models):
        self.models = models
        self.names = {name: name for name in models.found}
        for each in models.found.values():
            self.names.setdefault(each.task, each.name)

    def __getitem__(self, name: str) -> "Model | Pending":
        own = self.names[name]
        state = END if own in self.models.failed else LOADING
        return self.models.loaded.get(own) or Pending(self.models.found[own].task, state)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


def serve(models: Models, page: Narrow, hosts: Hosts) -> Service:
    """Returns the server of the models, whose app shows the page under all paths that it has no route for."""
    service = Service(Shared(models), Limits(), hosts, models.calls)
    service.app.router.default = page
    service.app.router.lifespan_context = page.app.router.lifespan_context
    return service
