package telemetry

import (
	"fmt"
	"io"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// logEvery is for how long a line may wait in memory. Written one by one, lines
// cost more than the work that they tell of.
const logEvery = 100 * time.Millisecond

// NewLogger makes a logger to w. Levels are debug, info, warn and error; formats
// are json and console. Lines are written together, at least every 100 ms, at once
// with a warning or an error, and with stop; a process that is killed takes with
// it what waits.
func NewLogger(w io.Writer, level, format string) (log *zap.Logger, stop func(), err error) {
	parsed, err := zapcore.ParseLevel(level)
	if err != nil || parsed > zapcore.ErrorLevel {
		return nil, nil, fmt.Errorf("log level %q: choose debug, info, warn or error", level)
	}
	encoding := zap.NewProductionEncoderConfig()
	encoding.TimeKey = "time"
	encoding.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	encoding.EncodeDuration = zapcore.StringDurationEncoder
	var encoder zapcore.Encoder
	var options []zap.Option
	switch format {
	case "json":
		encoder = zapcore.NewJSONEncoder(encoding)
		options = append(options, zap.AddCaller(), zap.AddStacktrace(zapcore.ErrorLevel))
	case "console":
		encoding.EncodeTime = zapcore.TimeEncoderOfLayout("15:04:05.000")
		encoding.EncodeLevel = zapcore.CapitalLevelEncoder
		encoder = zapcore.NewConsoleEncoder(encoding)
	default:
		return nil, nil, fmt.Errorf("log format %q: choose json or console", format)
	}
	// Of w nothing but Write: the buffer's Sync would sync the disk below a file.
	buffer := &zapcore.BufferedWriteSyncer{WS: zapcore.AddSync(struct{ io.Writer }{w}), FlushInterval: logEvery}
	stop = func() { _ = buffer.Stop() } // there is nowhere left to say it
	return zap.New(prompt{zapcore.NewCore(encoder, buffer, parsed)}, options...), stop, nil
}

// prompt is a core whose warnings and errors are written at once, behind what
// waited before them.
type prompt struct{ zapcore.Core }

// With implements zapcore.Core.
func (p prompt) With(fields []zapcore.Field) zapcore.Core { return prompt{p.Core.With(fields)} }

// Check implements zapcore.Core.
func (p prompt) Check(e zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if p.Enabled(e.Level) {
		return checked.AddCore(e, p)
	}
	return checked
}

// Write implements zapcore.Core.
func (p prompt) Write(e zapcore.Entry, fields []zapcore.Field) error {
	err := p.Core.Write(e, fields)
	if err == nil && e.Level >= zapcore.WarnLevel {
		err = p.Sync()
	}
	return err
}
