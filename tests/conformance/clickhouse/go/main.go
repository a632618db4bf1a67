// Conformance of the ClickHouse server with clickhouse-go v2: both protocols, every compression of
// each, as `millrace` and as `reader`. Prints "ok NAME" for each check; ends with 1 on the first
// that fails.
package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/uuid"
)

const (
	accessDenied   = 497
	unknownTable   = 60
	syntaxError    = 62
	throwIf        = 395
	rowsOfABatch   = 20_000
	patienceOfWait = 30 * time.Second
)

const table = `CREATE OR REPLACE TABLE go_events (
	event_id UUID, event_time DateTime64(3, 'UTC'), event_type LowCardinality(String),
	user_id UInt64, score Nullable(Float64), properties Map(LowCardinality(String), String),
	warnings Array(LowCardinality(String)), parts Array(Nullable(Int32)), is_met Bool,
	window_start DateTime('UTC'), day Date, incarnation UInt8, mode Enum8('on' = 1, 'off' = 2)
) ENGINE = MergeTree ORDER BY (user_id, event_time)`

type event struct {
	EventID     uuid.UUID         `ch:"event_id"`
	EventTime   time.Time         `ch:"event_time"`
	EventType   string            `ch:"event_type"`
	UserID      uint64            `ch:"user_id"`
	Score       *float64          `ch:"score"`
	Properties  map[string]string `ch:"properties"`
	Warnings    []string          `ch:"warnings"`
	Parts       []*int32          `ch:"parts"`
	IsMet       bool              `ch:"is_met"`
	WindowStart time.Time         `ch:"window_start"`
	Day         time.Time         `ch:"day"`
	Incarnation uint8             `ch:"incarnation"`
	Mode        string            `ch:"mode"`
}

func newEvent(i int) event {
	at := time.UnixMilli(1_700_000_000_000 + int64(i)*1_001).UTC()
	made := event{
		EventID:   uuid.NewSHA1(uuid.NameSpaceOID, []byte{byte(i), byte(i >> 8), byte(i >> 16)}),
		EventTime: at, EventType: []string{"view", "ä\t'\\"}[i%2], UserID: 1<<63 + uint64(i),
		Properties: map[string]string{"a": fmt.Sprint(i)}, Warnings: []string{"x", ""},
		Parts: []*int32{nil}, IsMet: i%3 == 0, WindowStart: at.Truncate(time.Minute),
		Day: at.Truncate(24 * time.Hour), Incarnation: uint8(i), Mode: []string{"on", "off"}[i%2],
	}
	if i%2 == 0 {
		score, part := float64(i)/3, int32(-i)
		made.Score, made.Properties, made.Warnings = &score, map[string]string{}, []string{}
		made.Parts = []*int32{&part, nil}
	}
	return made
}

type transport struct {
	protocol    clickhouse.Protocol
	address     string
	compression *clickhouse.Compression // nil: what the driver does by default
	name        string
}

func transports() []transport {
	native, http := os.Getenv("CLICKHOUSE_NATIVE_ADDRESS"), os.Getenv("CLICKHOUSE_HTTP_ADDRESS")
	all := []transport{
		{clickhouse.Native, native, nil, "native"},
		{clickhouse.HTTP, http, nil, "http"},
	}
	methods := map[clickhouse.Protocol][]clickhouse.CompressionMethod{
		clickhouse.Native: {
			clickhouse.CompressionNone, clickhouse.CompressionLZ4, clickhouse.CompressionLZ4HC,
			clickhouse.CompressionZSTD,
		},
		clickhouse.HTTP: {
			clickhouse.CompressionNone, clickhouse.CompressionLZ4, clickhouse.CompressionZSTD,
			clickhouse.CompressionGZIP, clickhouse.CompressionDeflate, clickhouse.CompressionBrotli,
		},
	}
	for _, protocol := range all[:2] {
		for _, method := range methods[protocol.protocol] {
			compression := &clickhouse.Compression{Method: method, Level: 3}
			name := protocol.name + "-" + method.String()
			all = append(all, transport{protocol.protocol, protocol.address, compression, name})
		}
	}
	return all
}

func (t transport) options(account, password, database string) *clickhouse.Options {
	return &clickhouse.Options{
		Addr: []string{t.address}, Protocol: t.protocol, Compression: t.compression,
		Auth: clickhouse.Auth{Username: account, Password: os.Getenv(password), Database: database},
	}
}

func main() {
	for _, t := range transports() {
		owner := must(clickhouse.Open(t.options("millrace", "CLICKHOUSE_PASSWORD", "millrace")))
		check(t.name+" handshake", handshake(owner))
		check(t.name+" rows come back as they went in", roundTrip(owner))
		check(t.name+" parameters", parameters(owner))
		check(t.name+" error codes", errorCodes(owner))
		check(t.name+" an error in the middle of a result", lateError(owner))
		if t.compression == nil {
			check(t.name+" cancel", cancel(owner))
			database := clickhouse.OpenDB(t.options("millrace", "CLICKHOUSE_PASSWORD", "millrace"))
			check(t.name+" database/sql", standard(database))
			reader := must(clickhouse.Open(t.options("reader", "CLICKHOUSE_READER_PASSWORD", "")))
			check(t.name+" reader", asReader(reader))
		}
		check(t.name+" close", owner.Close())
	}
}

func handshake(c driver.Conn) error {
	version, err := c.ServerVersion()
	if err != nil {
		return err
	}
	if version.Version.Major < 26 {
		return fmt.Errorf("version %v", version)
	}
	return c.Ping(context.Background())
}

func roundTrip(c driver.Conn) error {
	ctx := context.Background()
	if err := c.Exec(ctx, table); err != nil {
		return err
	}
	batch, err := c.PrepareBatch(ctx, "INSERT INTO go_events")
	if err != nil {
		return err
	}
	for i := range rowsOfABatch {
		row := newEvent(i)
		if err := batch.AppendStruct(&row); err != nil {
			return err
		}
	}
	if err := batch.Send(); err != nil {
		return err
	}
	var back []event
	if err := c.Select(ctx, &back, "SELECT * FROM go_events ORDER BY user_id"); err != nil {
		return err
	}
	if len(back) != rowsOfABatch {
		return fmt.Errorf("%d rows", len(back))
	}
	for i, row := range back {
		row.Day = row.Day.UTC() // it comes with the server's name of UTC
		if expected := newEvent(i); !reflect.DeepEqual(row, expected) {
			return fmt.Errorf("row %d: %#v, not %#v", i, row, expected)
		}
	}
	return nil
}

func parameters(c driver.Conn) error {
	named := clickhouse.Context(context.Background(), clickhouse.WithParameters(
		clickhouse.Parameters{"id": "9223372036854775811", "text": "it's ä"}))
	var rows uint64
	var text string
	bound := "SELECT count(), {text:String} FROM go_events WHERE user_id = {id:UInt64}"
	if err := c.QueryRow(named, bound).Scan(&rows, &text); err != nil {
		return err
	}
	if rows != 1 || text != "it's ä" {
		return fmt.Errorf("by name on the server: %d rows, %q", rows, text)
	}
	at := time.UnixMilli(1_700_000_000_000).UTC()
	err := c.QueryRow(context.Background(),
		"SELECT count(), toString(?) FROM go_events WHERE event_time <= ? AND event_type IN (?)",
		"it's ä", at, []string{"view", "other"}).Scan(&rows, &text)
	if err == nil && (rows != 1 || text != "it's ä") {
		return fmt.Errorf("by place in the driver: %d rows, %q", rows, text)
	}
	return err
}

func errorCodes(c driver.Conn) error {
	for statement, code := range map[string]int32{"SELECT * FROM nope": unknownTable, "SELECT (1": syntaxError} {
		if err := expectCode(c.Exec(context.Background(), statement), code); err != nil {
			return err
		}
	}
	return nil
}

func expectCode(err error, code int32) error {
	var exception *clickhouse.Exception
	if errors.As(err, &exception) && exception.Code == code {
		return nil
	}
	return fmt.Errorf("expected code %d, got %w", code, err)
}

func lateError(c driver.Conn) error {
	rows, err := c.Query(context.Background(),
		"SELECT number, throwIf(number = 3000000, 'too far') FROM numbers(4000000)")
	if err == nil {
		for rows.Next() {
		}
		err = rows.Err()
	}
	if err == nil || !strings.Contains(err.Error(), "too far") {
		return fmt.Errorf("expected 'too far', got %v", err)
	}
	return nil
}

func cancel(c driver.Conn) error {
	ctx, stop := context.WithCancel(clickhouse.Context(
		context.Background(), clickhouse.WithQueryID("go-to-be-cancelled")))
	running := "SELECT count() FROM system.processes WHERE query_id = 'go-to-be-cancelled'"
	ended := make(chan error, 1)
	go func() {
		ended <- c.Exec(ctx, "SELECT sleep(1) FROM numbers(600) SETTINGS max_block_size = 1 FORMAT Null")
	}()
	// Killed before it reads, a statement is listed, and yet runs on.
	err := await(c, running+" AND read_rows > 0", 1)
	stop()
	if err != nil {
		return err
	}
	if err := <-ended; err == nil {
		return errors.New("the statement ended without an error")
	}
	// The native protocol cancels; over HTTP the server sees that the client left when it next writes.
	_ = c.Exec(context.Background(), "KILL QUERY WHERE query_id = 'go-to-be-cancelled' SYNC")
	return await(c, running, 0)
}

func await(c driver.Conn, statement string, expected uint64) error {
	for end := time.Now().Add(patienceOfWait); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		var found uint64
		if err := c.QueryRow(context.Background(), statement).Scan(&found); err != nil {
			return err
		}
		if found == expected {
			return nil
		}
	}
	return fmt.Errorf("never %d: %s", expected, statement)
}

func standard(database *sql.DB) error {
	defer database.Close()
	if _, err := database.Exec("CREATE OR REPLACE TABLE go_scores (id UInt64, score Nullable(Float64)) " +
		"ENGINE = MergeTree ORDER BY id"); err != nil {
		return err
	}
	transaction, err := database.Begin()
	if err != nil {
		return err
	}
	insert, err := transaction.Prepare("INSERT INTO go_scores")
	if err != nil {
		return err
	}
	for i := range 3 {
		if _, err := insert.Exec(uint64(i), sql.NullFloat64{Float64: 0.5, Valid: i == 1}); err != nil {
			return err
		}
	}
	if err := transaction.Commit(); err != nil {
		return err
	}
	for i := range 3 {
		var score sql.NullFloat64
		if err := database.QueryRow("SELECT score FROM go_scores WHERE id = ?", i).Scan(&score); err != nil {
			return err
		}
		if score.Valid != (i == 1) {
			return fmt.Errorf("row %d: %v", i, score)
		}
	}
	rows, err := database.Query("SELECT * FROM go_events LIMIT 1")
	if err != nil {
		return err
	}
	defer rows.Close()
	types, err := rows.ColumnTypes()
	if err == nil && (len(types) != 13 || types[5].DatabaseTypeName() != "Map(LowCardinality(String), String)") {
		return fmt.Errorf("columns: %v", types)
	}
	return err
}

func asReader(c driver.Conn) error {
	ctx := context.Background()
	var sessions uint64
	if err := c.QueryRow(ctx, "SELECT sum(sessions) FROM analytics.daily_sessions").Scan(&sessions); err != nil {
		return err
	}
	if sessions != 42 {
		return fmt.Errorf("%d sessions", sessions)
	}
	for _, forbidden := range []string{
		"SELECT * FROM millrace.raw_events", "SELECT * FROM analytics.stg_events",
		"INSERT INTO analytics.daily_sessions SELECT today(), 1", "DROP TABLE analytics.daily_sessions",
		"SELECT * FROM url('http://127.0.0.1/', 'CSV', 'a String')",
	} {
		if err := expectCode(c.Exec(ctx, forbidden), accessDenied); err != nil {
			return fmt.Errorf("%s: %w", forbidden, err)
		}
	}
	return c.Close()
}

func must[T any](made T, err error) T {
	check("connect", err)
	return made
}

func check(name string, err error) {
	if err != nil {
		fmt.Printf("failed %s: %v\n", name, err)
		os.Exit(1)
	}
	if name != "connect" {
		fmt.Println("ok", name)
	}
}
