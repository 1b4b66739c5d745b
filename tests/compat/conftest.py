from helpers.pot_problems import arrays as arrays
