#!/usr/bin/env bash
# From a log to an evaluated adapter that stands in the log as one more candidate, `<base>+<adapter>`.
#   bash examples/distill.sh BENCH STUDENT OUT RECIPE.yaml [flags of fusion_hf.distill.sft]
#   bash examples/distill.sh                            # the embedded sample and its reader, on a CPU, into ./distilled
# Environment: SELECT (perf) and TOP_K (5): the rule; SMALL=1: the small pool teaches; CONFIG: accelerate's config;
# BASE and POOL: the student's name in the pool, and the pool file with its price; BACKEND (transformers) or vllm;
# SPLITS and LIMIT: what it is asked (default: everything, so that routers can learn about it); INTO: the FusionBench
# folder that it joins (default: a copy of BENCH in OUT/bench).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
sample=$(python -c "from fusion_hf.logs.sample import sample_path; print(sample_path())")
if [ $# -eq 0 ]; then
    set -- "$sample" "$sample/reader" distilled "$here/recipes/sft_small.yaml"
    : "${BASE:=tiny-small}" "${POOL:=$sample/pool.yaml}" "${LIMIT:=10}" "${CONFIG:=$here/accelerate/one_cpu.yaml}"
    set -- "$@" --max_rows 1000 --num_train_epochs 1
fi
bench=$1 student=$2 out=$3 recipe=$4
shift 4
name=$(basename "$out")

fusion-hf sft-data "$bench" --select "${SELECT:-perf}" --top-k "${TOP_K:-5}" --holdout 0.02 --out "$out/sft" \
    ${SMALL:+--small} ${POOL:+--pool "$POOL"}
accelerate launch --config_file "${CONFIG:-$here/accelerate/one_gpu.yaml}" -m fusion_hf.distill.sft \
    --config "$recipe" --dataset_name "$out/sft" --model_name_or_path "$student" --output_dir "$out/$name" "$@"
fusion-hf eval-student "${INTO:-$bench}" "$out/$name" --backend "${BACKEND:-transformers}" --logs "$out/logs" \
    --out "${INTO:-$out/bench}" ${BASE:+--base "$BASE"} ${POOL:+--pool "$POOL"} ${SPLITS:+--splits "$SPLITS"} \
    ${LIMIT:+--limit "$LIMIT"} --json "$out/results.json"
