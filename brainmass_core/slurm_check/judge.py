"""Compare a Slurm site with the profile and with the resources that a study requests."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from brainmass_core.config import Config
from brainmass_core.pipeline.stages import STAGES
from brainmass_core.slurm_check.profile import Profile
from brainmass_core.slurm_check.site import UNLIMITED, Partition, Site

Level = Literal["ok", "warning", "failure"]
PLUGIN = "snakemake_executor_plugin_slurm"
# without an accounting database a job is known only while squeue lists it
MIN_JOB_AGE = 180.0  # s, the longest interval between two questions of Snakemake's plugin
MIN_KILL_WAIT = 30.0  # s between SIGTERM and SIGKILL: Slurm's default


@dataclass(frozen=True)
class Finding:
    """One result of the check.

    Attributes
    ----------
    lines : tuple of str
        Lines for the profile that mend it.
    """

    level: Level
    subject: str
    found: str
    remedy: str = ""
    lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class Request:
    """What one job of a stage requests; `nodes` machines with these resources each."""

    stage: str
    cpus: int
    mem_mb: int
    minutes: int
    gpus: int = 0
    nodes: int = 1


def judge(site: Site, profile: Profile, requests: list[Request]) -> list[Finding]:
    """Everything about the site that a study should know before its jobs are submitted."""
    partition = site.partition(profile.partition)
    findings = [
        Finding("ok", "controller", f"{site.version}; {site.controller}"),
        *_programs(site),
        *_partition(site, profile, partition),
        *_accounting(site, profile),
        *_account(site, profile),
        *_behaviour(site, profile),
    ]
    if partition is not None:
        for request in requests:
            findings += _request(request, partition, profile)
    return findings


def _programs(site: Site) -> Iterator[Finding]:
    if site.missing:
        names = ", ".join(site.missing)
        yield Finding("failure", "commands", f"not found: {names}", "install Slurm's client tools")
    if importlib.util.find_spec(PLUGIN) is None:
        remedy = "pip install snakemake-executor-plugin-slurm"
        yield Finding("failure", "Snakemake", "its Slurm plugin is not installed", remedy)
    if job := os.environ.get("SLURM_JOB_ID"):
        yield Finding(
            "warning",
            "session",
            f"this is itself a Slurm job ({job})",
            "start Snakemake on a login node: it must run as long as the whole workflow",
        )


def _partition(site: Site, profile: Profile, chosen: Partition | None) -> Iterator[Finding]:
    up = [p for p in site.partitions if p.up and p.n_nodes]
    names = ", ".join(p.name for p in up) or "none"
    if chosen is None:
        wanted = f"no partition {profile.partition}" if profile.partition else "no default"
        lines = ("default-resources:", f'  slurm_partition: "{up[0].name}"') if up else ()
        remedy = f"name one of the partitions that can run jobs ({names})"
        yield Finding("failure", "partition", f"{wanted} at this site", remedy, lines)
        return
    limit = "none" if chosen.minutes == UNLIMITED else f"{chosen.minutes:g} min"
    about = f"{chosen.name}: {chosen.n_nodes} usable nodes, time limit {limit}"
    if not chosen.up or not chosen.n_nodes:
        states = ", ".join(f"{g.n_nodes} {g.state}" for g in chosen.groups) or "no nodes"
        remedy = f"choose one of {names} with slurm_partition, or ask the administrators"
        state = (
            f"{chosen.name} cannot run jobs ({states}, partition {'up' if chosen.up else 'not up'})"
        )
        yield Finding("failure", "partition", state, remedy)
        return
    largest = max(chosen.usable, key=lambda g: (g.mem_mb, g.cpus))
    gpus = max(g.gpus for g in chosen.usable)
    about += f"; largest node {largest.cpus} CPUs, {largest.mem_mb} MB, {gpus} GPUs"
    yield Finding("ok", "partition", about)


def _accounting(site: Site, profile: Profile) -> Iterator[Finding]:
    uses_squeue = profile.status_command == "squeue"
    if not site.accounting:
        yield Finding("ok", "accounting", "sacct answers")
    elif not uses_squeue:
        yield Finding(
            "failure",
            "accounting",
            f"sacct does not answer ({site.accounting}): Snakemake would wait forever",
            "read the states of jobs with squeue",
            ("slurm-status-command: squeue",),
        )
    else:
        yield Finding("ok", "accounting", "none; the profile reads states of jobs with squeue")
    age = site.seconds("MinJobAge")
    if uses_squeue and age is not None and age < MIN_JOB_AGE:
        yield Finding(
            "warning",
            "MinJobAge",
            f"{age:g} s: a finished job may be gone from squeue before Snakemake asks for it",
            f"ask the administrators for {MIN_JOB_AGE:g} s or more, or for an accounting database",
        )


def _account(site: Site, profile: Profile) -> Iterator[Finding]:
    accounts = sorted({a.account for a in site.associations})
    enforced = "associations" in site.settings.get("AccountingStorageEnforce", "")
    if profile.account and accounts and profile.account not in accounts:
        found = f"{profile.account} of the profile is not one of yours ({', '.join(accounts)})"
        level: Level = "failure" if enforced else "warning"
        yield Finding(level, "account", found, "name one of yours with slurm_account")
    elif enforced and not accounts:
        yield Finding(
            "failure", "account", "you have none, and this site requires one", "ask for it"
        )
    elif enforced and not profile.account and not site.default_account:
        lines = ("default-resources:", f'  slurm_account: "{accounts[0]}"')
        yield Finding("failure", "account", "you have no default account", "name one", lines)
    elif accounts:
        used = profile.account or site.default_account or accounts[0]
        yield Finding("ok", "account", f"{used} (yours: {', '.join(accounts)})")
    limits = [a.max_submit for a in site.associations if a.max_submit is not None]
    if limits and profile.jobs > min(limits):
        yield Finding(
            "warning",
            "jobs",
            f"{profile.jobs} at the same time, but you may submit {min(limits)}",
            "submit fewer",
            (f"jobs: {min(limits)}",),
        )


def _behaviour(site: Site, profile: Profile) -> Iterator[Finding]:
    if "MEMORY" not in site.settings.get("SelectTypeParameters", "").upper():
        yield Finding(
            "warning",
            "memory",
            "Slurm does not allocate memory here: jobs on one node may exceed it together",
            "set resources.<stage>.cpus_per_task so that few jobs share a node",
        )
    wait = site.seconds("KillWait")
    if wait is not None and wait < MIN_KILL_WAIT:
        yield Finding(
            "warning",
            "KillWait",
            f"{wait:g} s from SIGTERM to SIGKILL at the time limit: one step of pre-training and "
            "saving its state must be faster, or the job continues from its last checkpoint",
            "set resources.pretrain.runtime so that training ends within it",
        )
    preempts = "REQUEUE" in site.settings.get("PreemptMode", "").upper()
    if preempts and site.settings.get("JobRequeue") == "1" and not profile.requeue:
        yield Finding(
            "warning",
            "preemption",
            "this site queues preempted jobs again; Snakemake would count them as failed",
            "leave them to Slurm",
            ("slurm-requeue: true",),
        )
    if site.settings.get("EnforcePartLimits", "").upper() in ("NO", "0"):
        yield Finding(
            "warning",
            "limits",
            "a job that exceeds the partition's limits is not refused but waits forever",
            "see the stages below that exceed them",
        )


def _request(request: Request, partition: Partition, profile: Profile) -> Iterator[Finding]:
    subject = f"stage {request.stage}"
    settings = f"resources.{request.stage}"
    about = f"{request.cpus} CPUs, {request.mem_mb} MB, {request.minutes} min"
    about += f", {request.gpus} GPUs" if request.gpus else ""
    if request.minutes > partition.minutes:
        limit = f"{partition.minutes:g} min is the limit of {partition.name}"
        remedy = f"lower {settings}.runtime or choose another partition for this rule"
        yield Finding("failure", subject, f"requests {request.minutes} min; {limit}", remedy)
    fitting = partition.fits(request.cpus, request.mem_mb, request.gpus)
    if fitting < request.nodes:
        needed = f"{request.nodes} nodes with {about}" if request.nodes > 1 else about
        found = (
            f"requests {needed}; {fitting} of {partition.n_nodes} nodes of {partition.name} have it"
        )
        remedy = f"lower {settings}, or choose a partition with --set-resources "
        remedy += f"{request.stage}:slurm_partition=NAME"
        yield Finding("failure", subject, found, remedy)
        return
    doubled = request.mem_mb * 2**profile.retries
    if partition.fits(request.cpus, doubled, request.gpus) < request.nodes:
        yield Finding(
            "warning",
            subject,
            f"its last attempt requests {doubled} MB, more than a node of {partition.name} has",
            f"lower {settings}.mem_mb, or retries in the profile",
        )
    elif request.minutes <= partition.minutes:
        yield Finding("ok", subject, f"{about}: {fitting} nodes have it")


def profile_lines(findings: list[Finding]) -> list[str]:
    """The lines of all findings for the profile, each section once."""
    sections: dict[str, list[str]] = {}
    for finding in findings:
        if finding.lines:
            first, *rest = finding.lines
            sections.setdefault(first, []).extend(rest)
    return [line for first, rest in sections.items() for line in (first, *rest)]


def requests_of(config: Config) -> list[Request]:
    """What one job of each stage requests."""
    requests = []
    for stage in STAGES:
        wanted = config.stage_resources(stage)
        nodes = config.pretrain.nodes if stage == "pretrain" else 1
        numbers = (wanted.cpus_per_task, wanted.mem_mb, wanted.runtime, wanted.gpus)
        requests.append(Request(stage, *numbers, nodes))
    return requests
