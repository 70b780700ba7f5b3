#!/usr/bin/env bash
# What a machine with an NVIDIA GPU does with pre-training: is it right, how fast is it, where does
# the time go.
#
#   bash benchmarks/gpu.sh [--official FOLDER] [--out FOLDER]
#
# FOLDER of --official holds byol_trainer.py and utils.py of the authors' release, which is then timed
# in the same process. Results are files in FOLDER of --out (benchmarks/gpu-results by default).
# Status 1: the device computes something wrong, and nothing was timed; 2: there is no GPU to measure.
set -euo pipefail

usage() { sed -n '2,10p' "$0"; }
official=() out=benchmarks/gpu-results
while [ $# -gt 0 ]; do
  case "$1" in
    --official) official=(--official "$(realpath "${2:?--official needs a folder}")"); shift 2 ;;
    --out) out=$(realpath -m "${2:?--out needs a folder}"); shift 2 ;;
    -h | --help) usage; exit 0 ;;
    *) echo "gpu.sh: unknown argument $1" >&2; usage >&2; exit 64 ;;
  esac
done
cd "$(dirname "$0")/.."
python=${PYTHON:-python}
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" CUBLAS_WORKSPACE_CONFIG=:4096:8

if ! found=$("$python" -c '
import sys, torch
print("torch", torch.__version__, "built for CUDA", torch.version.cuda)
sys.exit(not torch.cuda.is_available())' 2>&1); then
  echo "gpu.sh: no CUDA GPU that torch can use, so nothing was measured." >&2
  echo "$found" | tail -1 >&2
  command -v nvidia-smi >/dev/null || echo "nvidia-smi is not installed: no driver?" >&2
  exit 2
fi

mkdir -p "$out"
{ echo "$found"; nvidia-smi; git rev-parse HEAD; } >"$out/device.txt" 2>&1 || true
cat "$out/device.txt"

echo "== is it right? =="
"$python" benchmarks/gpu_check.py --device cuda | tee "$out/check.txt" || {
  echo "gpu.sh: the device computes something wrong, so nothing was timed; see $out/check.txt" >&2
  exit 1
}

# run NAME COMMAND...: with the batch of the paper, or the largest half of it that fits
run() {
  local name=$1 batch; shift
  for batch in 256 128 64 32; do
    echo "== $name, batch $batch =="
    if "$@" --batch "$batch" >"$out/$name.txt" 2>&1; then cat "$out/$name.txt"; return 0; fi
    grep -q "out of memory" "$out/$name.txt" || break
    echo "does not fit"
  done
  echo "gpu.sh: $name failed; see $out/$name.txt" >&2; failed=1
}
failed=0
for size in base large; do
  run "time-$size" "$python" benchmarks/pretrain_step.py --size "$size" --repeats 10 "${official[@]}"
  for precision in float32 bfloat16; do
    for passes in separate merged; do
      run "profile-$size-$precision-$passes" "$python" benchmarks/gpu_profile.py --size "$size" \
        --precision "$precision" --passes "$passes"
    done
  done
done
echo "results in $out"
exit "$failed"
