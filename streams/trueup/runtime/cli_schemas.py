"""`trueup schemas`: writes the JSON Schemas of registrations into a project, for editors.

In this repository: `python -m trueup.runtime.cli_schemas` after a change of model/registration.py (a test
compares).
"""

from __future__ import annotations

from pathlib import Path

import typer

from trueup.core.registration_schema import json_schema_texts
from trueup.model.errors import Refused
from trueup.runtime.cli_errors import errors_as_text
from trueup.runtime.cli_project import PROJECT_DEFAULT, ProjectOption


@errors_as_text()
def schemas(project: ProjectOption = PROJECT_DEFAULT) -> None:
    """Write schemas/*.schema.json into the project, so that an editor completes and checks registrations.

    Example: trueup schemas
    """
    folder = Path(project) / "schemas"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in json_schema_texts().items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise Refused(
            f'cannot write into "{folder}"', detail=error.strerror, hint="check the folder's permissions"
        ) from error
    typer.echo(f"wrote {', '.join(json_schema_texts())} into {folder}", err=True)


if __name__ == "__main__":
    typer.run(schemas)
