"""From sessions to the two fit windows.

Needs the sessions; gives `fit/select` (learn on train, choose on valid) and `fit/final` (learn on train + valid, score on test).
"""


rule encode_select:
    input:
        sessions="results/sessions/sessions.parquet",
        catalogue="results/sessions/catalogue.parquet",
        summary="results/sessions/summary.json",
    output:
        vocabulary="results/fit/select/items.parquet",
        train="results/fit/select/train.parquet",
        held_out="results/fit/select/valid.parquet",
        counts="results/fit/select/counts.json",
    log:
        "results/logs/encode/select.log",
    benchmark:
        "results/benchmarks/encode/select.jsonl"
    conda:
        "../envs/encode_select.yaml"
    params:
        window="select",
        settings=settings(
            filter=SECTIONS["filter"],
            protocol=SECTIONS["split"]["protocol"],
            checks=checks("unseen_items"),
        ),
        code=code_digest("encode"),
    shell:
        "recsys encode {input.sessions:q} --catalogue {input.catalogue:q} --summary {input.summary:q}"
        " --window {params.window:q} --items {output.vocabulary:q} --train {output.train:q} --held-out {output.held_out:q}"
        " --counts {output.counts:q} --settings {params.settings:q} > {log:q} 2>&1"


use rule encode_select as encode_final with:
    output:
        vocabulary="results/fit/final/items.parquet",
        train="results/fit/final/train.parquet",
        held_out="results/fit/final/test.parquet",
        counts="results/fit/final/counts.json",
    log:
        "results/logs/encode/final.log",
    benchmark:
        "results/benchmarks/encode/final.jsonl"
    conda:
        "../envs/encode_final.yaml"
    params:
        window="final",
        settings=settings(
            filter=SECTIONS["filter"],
            protocol=SECTIONS["split"]["protocol"],
            checks=checks("unseen_items"),
        ),
        code=code_digest("encode"),
