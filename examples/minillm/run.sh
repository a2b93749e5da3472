#!/usr/bin/env bash
# Pretraining, supervised fine-tuning and DPO, each from what the one before wrote; run again, it goes on.
set -euo pipefail

usage() {
  cat <<'USAGE'
Usage: run.sh [OPTION]...

  --skip-pretrain, --skip-sft, --skip-dpo      leave a stage out; the next one starts from what is found for it
  --force-pretrain, --force-sft, --force-dpo   train a stage from its start again, and those after it
  --allow-fallback                             let DPO start from rlhf or pretrain where no full_sft is found
  --smoke-test                                 a few rows and steps a stage

Variables, with their defaults:
  MODEL_HIDDEN_SIZE 512, MODEL_NUM_LAYERS 8, USE_MOE false
  OUT_DIR out                    where checkpoints go
  TF_DIR /openbayes/home/tf_dir where there is such a home, else ./tf_dir: where figures go, as JSON
  DATA_DIR data/processed        where there is one here, else the one beside this script
  MINILLM_PRETRAINED_PATH        what the first stage that runs starts from
  MINILLM_REMOTE_DIR /openbayes/home/out
  VENV_DIR .venv                 made where it is missing, unless this Python has what is needed
  USE_UV                         true or false; without it, uv where it is installed
  PRETRAIN_ARGS, SFT_ARGS, DPO_ARGS                 more options of the trainers
  SMOKE_{PRETRAIN,SFT,DPO}_{LIMIT,BATCH,STEPS}      rows, rows a step, and steps of a smoke test
USAGE
}

say() { echo "[run] $*"; }
fail() {
  echo "run.sh: $*" >&2
  exit 1
}

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
SMOKE=false FALLBACK=false
declare -A SKIP=([pretrain]=false [sft]=false [dpo]=false) FORCE=([pretrain]=false [sft]=false [dpo]=false)
for option in "$@"; do
  case $option in
    --skip-pretrain | --skip-sft | --skip-dpo) SKIP[${option#--skip-}]=true ;;
    --force-pretrain | --force-sft | --force-dpo) FORCE[${option#--force-}]=true ;;
    --allow-fallback) FALLBACK=true ;;
    --smoke-test) SMOKE=true ;;
    -h | --help) usage && exit 0 ;;
    *) usage >&2 && exit 2 ;;
  esac
done

# The trainers and `ckpt locate` read these too.
export MODEL_HIDDEN_SIZE=${MODEL_HIDDEN_SIZE:-512} MODEL_NUM_LAYERS=${MODEL_NUM_LAYERS:-8}
export USE_MOE=${USE_MOE:-false} OUT_DIR=${OUT_DIR:-out}
case ${USE_MOE,,} in
  true | 1 | yes) MOE=_moe ;;
  false | 0 | no) MOE= ;;
  *) fail "USE_MOE=$USE_MOE: not true or false" ;;
esac
if [ -d /openbayes/home ]; then TF_DIR=${TF_DIR:-/openbayes/home/tf_dir}; else TF_DIR=${TF_DIR:-./tf_dir}; fi
if [ -z "${DATA_DIR:-}" ]; then
  DATA_DIR=data/processed
  [ -d "$DATA_DIR" ] || DATA_DIR=$HERE/data/processed
fi

install_packages() {
  local python=$VENV_DIR/bin/python packages=(torch numpy ckpt-core ckpt-minillm)
  if [ "${USE_UV:-}" != false ] && { [ -n "${USE_UV:-}" ] || command -v uv >/dev/null; }; then
    uv venv "$VENV_DIR" && uv pip install --python "$python" "${packages[@]}"
  else
    python3 -m venv "$VENV_DIR" && "$python" -m pip install --quiet "${packages[@]}"
  fi
}

# What is there is used as it is; nothing of it is ever removed.
use_environment() {
  local named=${VENV_DIR:-}
  VENV_DIR=${VENV_DIR:-.venv}
  if [ ! -e "$VENV_DIR" ]; then
    if [ -z "$named" ] && python -c "import torch, ckpt_minillm" 2>/dev/null; then
      say "this Python has what is needed: $(command -v python)"
      return
    fi
    say "making $VENV_DIR"
    install_packages
  fi
  [ -x "$VENV_DIR/bin/python" ] || fail "$VENV_DIR: is there and has no bin/python; name another with VENV_DIR"
  PATH=$(cd "$VENV_DIR/bin" && pwd):$PATH
}

weights_of() { echo "$OUT_DIR/$1_$MODEL_HIDDEN_SIZE$MOE.pth"; }
resume_of() { echo "$OUT_DIR/$1_$MODEL_HIDDEN_SIZE${MOE}_resume.pth"; }

# Sets START to the options that say where pretraining starts: what is found, or random weights.
find_start_of_pretraining() {
  local hints=() found
  if [ "${FORCE[pretrain]}" = true ] && [ -z "${MINILLM_PRETRAINED_PATH:-}" ]; then hints=(--hint remote_only=true); fi
  if found=$(ckpt locate pretrain "${hints[@]}" -q); then
    START=(--pretrained_path "$found")
  elif [ $? -ne 3 ] || [ -n "${MINILLM_PRETRAINED_PATH:-}" ]; then
    fail "pretraining cannot start; see above"
  else
    say "nothing to go on with: pretraining starts from random weights"
    START=(--from_weight none)
  fi
}

# Sets START to what a stage starts from: the file that the stage before wrote, or where that one was skipped, the file
# that is found for it, once it was verified.
find_start_after() {
  local before=$1 written=$2 found
  shift 2
  if [ "$written" = true ]; then
    START=(--pretrained_path "$(weights_of "$before")")
    return
  fi
  found=$(ckpt locate "$before" "$@" -q) || fail "nothing to start from; run the stage before, or name a file"
  ckpt verify "$found" -q >/dev/null || fail "$found: is damaged or not what its name says; see ckpt verify $found"
  say "starting from $found"
  START=(--pretrained_path "$found")
}

# Trains one stage. A stage after one that trained in this run is trained anew: its resume file is of another start.
train() {
  local name=$1 stage=$2 trainer=$3 data=$4 extra=$5 resume=auto arguments=()
  read -r -a arguments <<<"$extra"
  if [ "${FORCE[$name]}" = true ] || [ "$RETRAINED" = true ]; then resume=0; fi
  if [ "$SMOKE" = true ]; then
    local limit=SMOKE_${name^^}_LIMIT batch=SMOKE_${name^^}_BATCH steps=SMOKE_${name^^}_STEPS
    arguments+=(--max_samples "${!limit:-16}" --batch_size "${!batch:-2}" --max_steps "${!steps:-4}" --log_interval 1)
  fi
  say "$name: ${START[*]}"
  python "$HERE/$trainer" --data_path "$DATA_DIR/$data" --from_resume "$resume" "${START[@]}" \
    --metrics_path "$TF_DIR/$name.json" "${arguments[@]}"
  ckpt verify "$(weights_of "$stage")" -q >/dev/null || fail "$(weights_of "$stage"): does not verify"
  if ! grep -q '"steps": 0,' "$TF_DIR/$name.json"; then
    RETRAINED=true
  fi
}

use_environment
mkdir -p "$OUT_DIR" "$TF_DIR"
RETRAINED=false

if [ "${SKIP[pretrain]}" = false ]; then
  START=()
  if [ "${FORCE[pretrain]}" = true ] || [ ! -f "$(resume_of pretrain)" ]; then find_start_of_pretraining; fi
  train pretrain pretrain train_pretrain.py pretrain_hq.jsonl "${PRETRAIN_ARGS:-}"
fi

if [ "${SKIP[sft]}" = false ]; then
  if [ "${SKIP[pretrain]}" = true ]; then find_start_after pretrain false; else find_start_after pretrain true; fi
  train sft full_sft train_full_sft.py sft_mini_512.jsonl "${SFT_ARGS:-}"
fi

if [ "${SKIP[dpo]}" = false ]; then
  HINTS=()
  if [ "$FALLBACK" = true ]; then HINTS=(--hint fallback_stages=rlhf,pretrain); fi
  if [ "${SKIP[sft]}" = true ]; then find_start_after full_sft false "${HINTS[@]}"; else find_start_after full_sft true; fi
  train dpo rlhf train_dpo.py dpo_pairs.jsonl "${DPO_ARGS:-}"
fi

say "done: checkpoints in $OUT_DIR, figures in $TF_DIR"
