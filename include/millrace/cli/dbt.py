"""``./millrace dbt …``: dbt with the profile set, and Millrace's deployments."""

from __future__ import annotations

import typer

from millrace.cli.errors import fail

PASS_THROUGH = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


OWN = {
    "deploy": "dbt deploy: bring what changed in the project into production, tested in a shadow.",
    "sample": "dbt sample: refill your sandbox with a sample of production.",
    "lint": "dbt lint [FILE]…: check the style of models, of all or of some files.",
}
"""Commands that dbt does not have, and what ``--help`` says of them."""


def command(context: typer.Context) -> None:
    """Run dbt on the project: `build`, `run`, `test`, `docs` … work in your own sandbox.

    `deploy` brings a changed project into production; `sample` renews the sandbox's events; `lint`
    checks the style of models. Add `--target analytics` to a dbt command to work on production
    itself.
    """
    from millrace.settings import Settings
    from millrace.transform import project, sandbox

    settings = Settings()
    arguments = list(context.args)
    own, rest = (arguments[:1] or [""])[0], arguments[1:]
    if own in OWN and {"-h", "--help"} & set(rest):
        typer.echo(OWN[own])
        return
    if own in {"deploy", "sample"} and rest:
        raise typer.BadParameter(f"{own} takes nothing more than that, not {' '.join(rest)}")
    if own == "deploy":
        _deploy()
        return
    if own == "sample":
        typer.echo(sandbox.sample(settings))
        return
    if own == "lint":
        raise typer.Exit(project.lint(settings, rest))
    if own in {"", "-h", "--help"}:
        typer.echo("\n".join([*OWN.values(), "Every other command is dbt's own:"]))
    target = project.target_of(arguments)
    if target == project.SANDBOX and arguments and arguments[0] in {"build", "run", "test"}:
        sandbox.ensure(settings)
    raise typer.Exit(project.pass_through(settings, arguments, target))


def _deploy() -> None:
    from millrace.settings import Settings
    from millrace.transform import deploy
    from millrace.usecases.deploy_models import deploy_models

    try:
        done = deploy_models(Settings(), say=typer.echo)
    except deploy.DeploymentError as error:
        raise fail(error) from None
    if not done.changed:
        typer.echo("nothing changed since the last deployment")
        return
    for name in done.built:
        typer.echo(f"deployed {name}")
    for name in done.removed:
        typer.echo(f"removed {name}")
