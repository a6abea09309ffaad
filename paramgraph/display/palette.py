"""The colours of all figures and cards."""

# Okabe and Ito's colours, moved to a lightness that reads on white and on near-black.
PALETTE = ("#2f7fc1", "#d9822b", "#1f9e77", "#b465b8", "#d1495b", "#8c8c3e", "#7a828e", "#3aa6b9")
# As far from white as from black (contrast 4.5 : 1 and 4.6 : 1), for text where the background is not known.
MIDDLE_GREY = "#767676"
