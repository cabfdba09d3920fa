# What every training on rendered particles takes, for train/weights.mk and train/search.mk.
#
# DATA holds sand/ and sand_cc/ (photos of sand without plastic), and beads/ (images/ and masks/).
DATA ?= data
TRAIN ?= train
SAND := --sand '$(DATA)/sand/pydgs_*' --sand '$(DATA)/sand_cc/images/[cimstb][!e]*' \
        --sand '$(DATA)/sand/gravel.png'
RENDERED := $(TRAIN) fit $(SAND) --cutouts $(DATA)/beads --crop 128 --precision bf16-mixed
