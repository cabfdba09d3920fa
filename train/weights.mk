# How the shipped weights were trained, step by step. A stopped step resumes with the same command.
#
#   make -f train/weights.mk DATA=photos            # all that ship
#   make -f train/weights.mk DATA=photos unet       # one of the large networks, the same way
#
# train/rendered.mk says what DATA holds.
# The renderer was improved between the steps, so a run of all of them gives other weights. Threshold
# and smallest diameter were chosen on the labelled patches afterwards (docs/accuracy.md).
include $(dir $(lastword $(MAKEFILE_LIST)))rendered.mk
OUT ?= runs/weights
FIT := $(RENDERED) --crops 1600 --batch 8

SHIPPED := mrunet_lite half_mrunet_lite half_mrunet quarter_mrunet half_mrunet8 quarter_mrunet8
LARGE := unet half_unet mrunet

.PHONY: all $(SHIPPED) $(LARGE)
all: $(SHIPPED)

# One residual unit first, which trains twice as fast; then more of them, from its weights.
$(OUT)/lite_a/done:
	$(FIT) --model half_mrunet_lite --epochs 10 --out $(@D)
	touch $@

$(OUT)/negatives/done: $(OUT)/lite_a/done
	rm -rf $(@D)
	$(TRAIN) mine $(OUT)/lite_a/last.pt $(SAND) --out $(@D)
	touch $@

$(OUT)/lite_b/done: $(OUT)/negatives/done
	$(FIT) --init $(OUT)/lite_a/last.pt --negatives $(<D) --epochs 7 --out $(@D)
	touch $@

$(OUT)/lite_c/done: $(OUT)/lite_b/done
	$(FIT) --init $(<D)/last.pt --negatives $(OUT)/negatives --epochs 36 --out $(@D)
	touch $@

$(OUT)/negatives_2/done: $(OUT)/lite_c/done
	rm -rf $(@D)
	$(TRAIN) mine $(<D)/last.pt $(SAND) --out $(@D)
	touch $@

MINED := --negatives $(OUT)/negatives --negatives $(OUT)/negatives_2

$(OUT)/half_mrunet/done: $(OUT)/negatives_2/done
	$(FIT) --model half_mrunet --init $(OUT)/lite_c/last.pt $(MINED) --epochs 15 --out $(@D)
	touch $@

$(OUT)/quarter_a/done:
	mkdir -p $(OUT)
	echo '{"family": "multires", "key": "quarter_mrunet_units1", "title": "Quarter, 1 unit",' \
	     '"stem": 16, "encoder": [17], "bottom": 33, "residual": [32], "head_kernel": 3,' \
	     '"units": [1]}' > $(OUT)/quarter_units1.json
	$(FIT) --model $(OUT)/quarter_units1.json --epochs 12 --out $(@D)
	touch $@

$(OUT)/quarter_mrunet/done: $(OUT)/quarter_a/done $(OUT)/negatives/done
	$(FIT) --model quarter_mrunet --init $(<D)/last.pt --negatives $(OUT)/negatives --epochs 6 \
	       --out $(@D)
	touch $@

$(OUT)/negatives_3/done: $(OUT)/half_mrunet/done
	rm -rf $(@D)
	$(TRAIN) mine $(<D)/last.pt $(SAND) --out $(@D)
	touch $@

# From random weights on, with batch normalisation and larger batches, which is better than all of
# the above. The x8 variants that ship are those of the ninth epoch.
NEW := --negatives $(OUT)/negatives_2 --negatives $(OUT)/negatives_3

LENGTH := --crops 6400 --batch 32 --epochs 16
$(OUT)/mrunet_lite/done: LENGTH := --crops 6400 --batch 32 --epochs 12
$(OUT)/half_mrunet_lite/done: LENGTH := --crops 3200 --batch 16 --epochs 10
$(OUT)/%/done: $(OUT)/negatives_3/done
	$(RENDERED) --model $* $(NEW) $(LENGTH) --out $(@D)
	touch $@

$(SHIPPED) $(LARGE): %: $(OUT)/%/done
