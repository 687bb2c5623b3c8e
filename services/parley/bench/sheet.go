package bench

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// sheet is a table with a name for each row. Where it has two columns, the
// figures of a row have the second's ratio to the first beside them.
type sheet struct {
	columns int
	lines   []string
}

// cell is a figure, if there is one.
type cell struct {
	value float64
	known bool
}

func newSheet(title string, columns ...string) *sheet {
	t := &sheet{columns: len(columns)}
	if t.columns == 2 {
		columns = append(columns, "ratio")
	}
	t.row(title, columns...)
	return t
}

func (t *sheet) row(name string, texts ...string) {
	if t.columns == 2 && len(texts) == 2 {
		texts = append(texts, "")
	}
	t.lines = append(t.lines, name+"\t"+strings.Join(texts, "\t")+"\t\n")
}

func (t *sheet) figures(name, form string, cells []cell) {
	var texts []string
	for _, c := range cells {
		text := ""
		if c.known {
			text = fmt.Sprintf(form, c.value)
		}
		texts = append(texts, text)
	}
	if t.columns == 2 && cells[0].known && cells[1].known {
		texts = append(texts, fmt.Sprintf("%.2f", quotient(cells[1].value, cells[0].value)))
	}
	t.row(name, texts...)
}

// write prints the table, and a line below it.
func (t *sheet) write(w io.Writer, below string) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, line := range t.lines {
		fmt.Fprint(tw, line)
	}
	if err := tw.Flush(); err != nil {
		return fmt.Errorf("printing the table: %w", err)
	}
	if _, err := fmt.Fprintln(w, below); err != nil {
		return fmt.Errorf("printing the table: %w", err)
	}
	return nil
}
