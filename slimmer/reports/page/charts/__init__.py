"""Charts as data: positions in percent of the plot, which a template draws as SVG and HTML."""
