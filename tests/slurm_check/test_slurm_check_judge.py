"""What is wrong with a site is found, with the remedy and the lines that mend it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from brainmass_core.slurm_check.judge import Finding, Request, judge, profile_lines
from brainmass_core.slurm_check.profile import Profile
from brainmass_core.slurm_check.site import Association, NodeGroup, Partition, Site

BATCH = Partition("batch", True, True, 1440, (NodeGroup(10, 16, 64000, 0, "idle"),))
GPU = Partition("gpu", False, True, 720, (NodeGroup(2, 16, 128000, 4, "mixed"),))
SETTINGS = {
    "MinJobAge": "300 sec",
    "KillWait": "30 sec",
    "SelectTypeParameters": "CR_CORE_MEMORY",
    "EnforcePartLimits": "ALL",
    "PreemptMode": "OFF",
    "JobRequeue": "1",
}
SITE = Site("slurm 24.05", "up", SETTINGS, (BATCH, GPU), "", (Association("lab"),), "lab")
PROFILE = Profile(Path("slurm/config.yaml"), retries=2)
SMALL = Request("timeseries", 1, 2000, 60)


@pytest.fixture(autouse=True)
def _no_job(monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)


def worse(site: Site = SITE, profile: Profile = PROFILE, *requests: Request) -> list[Finding]:
    return [f for f in judge(site, profile, list(requests) or [SMALL]) if f.level != "ok"]


def only(findings: list[Finding]) -> Finding:
    assert len(findings) == 1, findings
    return findings[0]


def changed(**settings: str) -> Site:
    return replace(SITE, settings=SETTINGS | settings)


def test_nothing_is_found_at_a_good_site():
    assert worse() == []


def test_a_site_without_accounting_needs_squeue():
    site = replace(SITE, accounting="sacct: disabled")
    finding = only(worse(site))
    assert (finding.level, finding.subject) == ("failure", "accounting")
    assert profile_lines([finding]) == ["slurm-status-command: squeue"]
    assert worse(site, replace(PROFILE, status_command="squeue")) == []


def test_jobs_that_squeue_forgets_too_soon_are_warned_of():
    site = replace(changed(MinJobAge="60 sec"), accounting="disabled")
    finding = only(worse(site, replace(PROFILE, status_command="squeue")))
    assert (finding.level, finding.subject) == ("warning", "MinJobAge")


def test_without_a_default_partition_one_is_proposed():
    site = replace(SITE, partitions=(GPU,))
    finding = only(worse(site))
    assert finding.level == "failure"
    assert profile_lines([finding]) == ["default-resources:", '  slurm_partition: "gpu"']


def test_an_unknown_partition_of_the_profile_is_refused():
    finding = only(worse(SITE, replace(PROFILE, partition="bach")))
    assert finding.found.startswith("no partition bach")
    assert "batch, gpu" in finding.remedy


@pytest.mark.parametrize("state", ["down*", "drained", "maint", "powered_down"])
def test_a_partition_whose_nodes_cannot_run_jobs_is_refused(state):
    dead = replace(BATCH, groups=(NodeGroup(10, 16, 64000, 0, state),))
    findings = worse(replace(SITE, partitions=(dead, GPU)))
    assert findings[0].level == "failure"
    assert f"10 {state}" in findings[0].found
    assert "gpu" in findings[0].remedy


@pytest.mark.parametrize(
    ("request_", "part"),
    [
        (Request("finetune", 17, 2000, 60), "0 of 10 nodes of batch have it"),
        (Request("finetune", 1, 64001, 60), "0 of 10 nodes of batch have it"),
        (Request("pretrain", 1, 2000, 60, gpus=1), "0 of 10 nodes of batch have it"),
        (Request("pretrain", 1, 2000, 60, nodes=11), "requests 11 nodes with 1 CPUs"),
        (Request("pretrain", 1, 2000, 1441), "requests 1441 min; 1440 min is the limit of batch"),
    ],
)
def test_a_stage_that_exceeds_the_partition_is_refused(request_, part):
    finding = only(worse(SITE, PROFILE, request_))
    assert (finding.level, finding.subject) == ("failure", f"stage {request_.stage}")
    assert part in finding.found
    assert f"resources.{request_.stage}" in finding.remedy


def test_a_stage_at_the_limit_is_accepted():
    assert worse(SITE, replace(PROFILE, retries=0), Request("finetune", 16, 64000, 1440)) == []


def test_memory_that_only_the_last_attempt_exceeds_is_warned_of():
    finding = only(worse(SITE, PROFILE, Request("finetune", 1, 16001, 60)))
    assert finding.level == "warning"
    assert "64004 MB" in finding.found


def test_a_partition_with_gpus_accepts_a_stage_that_needs_them():
    profile = replace(PROFILE, partition="gpu")
    assert worse(SITE, profile, Request("pretrain", 8, 30000, 700, gpus=4, nodes=2)) == []


def test_accounts():
    enforced = {"AccountingStorageEnforce": "associations,limits"}
    site = changed(**enforced)
    assert worse(site) == []
    none = only(worse(replace(site, associations=(), default_account="")))
    assert (none.level, none.subject) == ("failure", "account")
    no_default = only(worse(replace(site, default_account="")))
    assert profile_lines([no_default]) == ["default-resources:", '  slurm_account: "lab"']
    strange = only(worse(site, replace(PROFILE, account="lib")))
    assert (strange.level, "lib" in strange.found) == ("failure", True)
    assert only(worse(SITE, replace(PROFILE, account="lib"))).level == "warning"


def test_more_jobs_than_may_be_submitted_are_warned_of():
    finding = only(worse(replace(SITE, associations=(Association("lab", max_submit=50),))))
    assert profile_lines([finding]) == ["jobs: 50"]


@pytest.mark.parametrize(
    ("settings", "subject"),
    [
        ({"KillWait": "3 sec"}, "KillWait"),
        ({"SelectTypeParameters": "CR_CORE"}, "memory"),
        ({"PreemptMode": "REQUEUE"}, "preemption"),
        ({"EnforcePartLimits": "NO"}, "limits"),
    ],
)
def test_behaviour_that_surprises_is_warned_of(settings, subject):
    finding = only(worse(changed(**settings)))
    assert (finding.level, finding.subject) == ("warning", subject)


def test_preempted_jobs_that_are_left_to_slurm_are_no_finding():
    assert worse(changed(PreemptMode="REQUEUE"), replace(PROFILE, requeue=True)) == []
    assert worse(changed(PreemptMode="REQUEUE", JobRequeue="0")) == []


def test_snakemake_within_a_job_is_warned_of(monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "9")
    assert only(worse()).subject == "session"


def test_lines_of_one_section_are_joined():
    a = Finding("failure", "a", "", "", ("default-resources:", '  slurm_partition: "p"'))
    b = Finding("failure", "b", "", "", ("jobs: 5",))
    c = Finding("failure", "c", "", "", ("default-resources:", '  slurm_account: "q"'))
    assert profile_lines([a, b, c]) == [
        "default-resources:",
        '  slurm_partition: "p"',
        '  slurm_account: "q"',
        "jobs: 5",
    ]
