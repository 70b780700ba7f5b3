"""The command `slurm-check`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from brainmass_core.cli.application import app
from brainmass_core.cli.options import DEFAULT_CONFIG, ConfigPath, load

if TYPE_CHECKING:
    from brainmass_core.slurm_check.judge import Finding

COLOURS = {"ok": "green", "warning": "yellow", "failure": "red"}


@app.command("slurm-check")
def slurm_check(
    config: ConfigPath = DEFAULT_CONFIG,
    profile: Annotated[Path, typer.Option(help="Folder of Snakemake's profile.")] = Path("slurm"),
    partition: Annotated[
        str | None, typer.Option(help="Check this partition in place of the profile's.")
    ] = None,
    trial: Annotated[bool, typer.Option(help="Run a trial job of up to two nodes.")] = True,
    wait: Annotated[float, typer.Option(help="Minutes to wait for the trial job.", min=0.1)] = 10,
) -> None:
    """Check this Slurm site before a study runs on it, and print lines for the profile.

    Partitions, limits, accounting and accounts are compared with the profile and with the
    resources in the configuration; a trial job shows whether the nodes share the results folder and
    this environment, reach one another as pre-training needs, and see their GPUs.
    """
    settings = load(config, check_paths=False)
    from dataclasses import replace

    from brainmass_core.slurm_check.judge import judge, profile_lines, requests_of
    from brainmass_core.slurm_check.profile import read_profile
    from brainmass_core.slurm_check.site import read_site
    from brainmass_core.slurm_check.trial import judge_trial, run_trial

    used = read_profile(profile)
    used = replace(used, partition=partition) if partition else used
    site = read_site()
    findings = judge(site, used, requests_of(settings))
    _show(findings)
    chosen = site.partition(used.partition)
    if trial and chosen is not None and chosen.n_nodes:
        n_nodes = min(2, chosen.n_nodes)
        gpus = min(1, max(group.gpus for group in chosen.usable))
        typer.echo(
            f"trial job of {n_nodes} nodes, {gpus} GPUs each; waiting for up to {wait:g} min"
        )
        found = judge_trial(
            run_trial(settings.results, used, n_nodes, gpus, wait), used.latency_wait
        )
        _show(found)
        findings += found
    if lines := profile_lines(findings):
        typer.echo(f"\nFor {used.file}:\n" + "\n".join(lines))
    if any(finding.level == "failure" for finding in findings):
        raise typer.Exit(1)


def _show(findings: list[Finding]) -> None:
    for finding in findings:
        level = typer.style(f"{finding.level:8}", fg=COLOURS[finding.level])
        remedy = f"\n{'':8}-> {finding.remedy}" if finding.remedy else ""
        typer.echo(f"{level}{finding.subject}: {finding.found}{remedy}")
