"""`make mutants`: a fault put into each place that refuses something, one at a time; a test has to notice it.

    operators   what is changed: conditions in front of a refusal, the refusal itself, its code
    parts       the modules and tests of card, eIM, SM-DP+, certificates and firmware
    host, firmware   how a change gets into what runs, and which tests reach a place
    run         the loop: one process for each mutant, its time limit, the report
    explained.toml   changes that no test can notice, and why
"""
