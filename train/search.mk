# The search for a cheaper network: each candidate from random weights on as many rendered crops,
# with several seeds. A stopped run resumes with the same command.
#
#   make -f train/search.mk DATA=photos
#   bench accuracy photos --out search.json $(printf -- '--model %s ' runs/search/*.pt)
#   python -m bench.seeds search.json
#
# train/rendered.mk says what DATA holds; train/weights.mk made the NEGATIVES.
include $(dir $(lastword $(MAKEFILE_LIST)))rendered.mk
OUT ?= runs/search
NEGATIVES ?= runs/weights/negatives_3
SEEDS ?= 0 1 2
FIT := $(RENDERED) $(NEGATIVES:%=--negatives %) --batch 16 --crops 1600 --epochs 4

# Half MultiResUNet x8 with one residual unit at each level, with none, and with none and an early
# stride, in two widths; and Quarter MultiResUNet x8 with one.
half8_units1 := "encoder": [24, 32], "bottom": 64, "residual": [32, 64], "units": [1, 1]
half8_units0 := "encoder": [24, 32], "bottom": 64, "residual": [24, 32], "units": [0, 0]
quarter8_units1 := "encoder": [24], "bottom": 32, "residual": [32], "units": [1]
strided8_units0 := "encoder": [24, 32], "bottom": 64, "residual": [24, 32], "units": [0, 0], \
                   "early_stride": 2
strided8_wide := "encoder": [32, 64], "bottom": 128, "residual": [32, 64], "units": [0, 0], \
                 "early_stride": 2
NEW := half8_units1 half8_units0 quarter8_units1 strided8_units0 strided8_wide
NETWORKS ?= half_mrunet8 half_mrunet_lite mrunet_lite $(NEW)

.PHONY: all
all: $(foreach seed,$(SEEDS),$(NETWORKS:%=$(OUT)/%-$(seed).pt))

HEAD = {"family": "multires", "key": "$*", "title": "$*", "stem": 16, "head_kernel": 3, "step": 8,
define with_seed
$(OUT)/%-$(1).pt:
	mkdir -p $$(@D)
	$$(if $$($$*),echo '$$(HEAD) $$($$*)}' > $$(basename $$@).json)
	$(FIT) --model $$(if $$($$*),$$(basename $$@).json,$$*) --seed $(1) --out $(OUT)/runs/$$*-$(1)
	cp $(OUT)/runs/$$*-$(1)/last.pt $$@
endef
$(foreach seed,$(SEEDS),$(eval $(call with_seed,$(seed))))
