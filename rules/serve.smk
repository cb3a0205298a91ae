"""Serving.

Needs a champion in the registry (made by the pipeline where there is none) or the package that `serve.model` names; gives no file, but
answers on `POST /invocations` until Ctrl-C. For production, start `recsys serve` directly, without Snakemake.
"""


rule serve:
    input:
        champion_if_needed,
    log:
        # A file a start, as below: a second server must not overwrite what the first one says.
        f"results/logs/serve/{STARTED}.log",
    benchmark:
        # A file a start: the rule has no output, and what is there already would count as done.
        f"results/benchmarks/serve/{STARTED}.jsonl"
    conda:
        "../envs/serve.yaml"
    params:
        shop=CONFIGURATION.shop,
        settings=settings(serve=SECTIONS["serve"], tracking=SECTIONS["tracking"]),
    shell:
        "recsys serve --shop {params.shop:q} --settings {params.settings:q} 2> >(tee {log:q} >&2)"
