"""``./millrace dbt …``: dbt with the profile set, and Millrace's deployments."""

from __future__ import annotations

import typer

from millrace.cli.errors import fail

PASS_THROUGH = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


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
    if arguments[:1] == ["deploy"]:
        _deploy()
        return
    if arguments[:1] == ["sample"]:
        typer.echo(sandbox.sample(settings))
        return
    if arguments[:1] == ["lint"]:
        raise typer.Exit(project.lint(settings, arguments[1:]))
    target = project.target_of(arguments)
    if target == project.SANDBOX and arguments and arguments[0] in {"build", "run", "test"}:
        sandbox.ensure(settings)
    raise typer.Exit(project.pass_through(settings, arguments, target))


def _deploy() -> None:
    from millrace.settings import Settings
    from millrace.transform import deploy

    try:
        done = deploy.deploy(Settings(), say=typer.echo)
    except deploy.DeploymentError as error:
        raise fail(error) from None
    if not done.changed:
        typer.echo("nothing changed since the last deployment")
        return
    for name in done.built:
        typer.echo(f"deployed {name}")
    for name in done.removed:
        typer.echo(f"removed {name}")
