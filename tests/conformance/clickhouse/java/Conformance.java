import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.ResultSetMetaData;
import java.sql.SQLException;
import java.sql.Statement;
import java.sql.Timestamp;
import java.time.Instant;
import java.time.LocalDate;
import java.time.LocalDateTime;
import java.time.ZoneOffset;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.TreeMap;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;

/**
 * Conformance of the ClickHouse server with clickhouse-jdbc and its default settings, as {@code
 * millrace} and as {@code reader}. Prints "ok NAME" for each check; ends with 1 if one failed.
 */
public final class Conformance {
    private static final int ACCESS_DENIED = 497;
    private static final int UNKNOWN_TABLE = 60;
    private static final int SYNTAX_ERROR = 62;
    private static final int QUERY_WAS_CANCELLED = 394;
    private static final int ROWS = 20_000;
    private static final Instant FIRST = Instant.ofEpochMilli(1_700_000_000_123L);

    private static final String TABLE =
            """
            CREATE OR REPLACE TABLE jdbc_events (
                event_id UUID, event_time DateTime64(3, 'UTC'), event_type LowCardinality(String),
                user_id UInt64, score Nullable(Float64),
                properties Map(LowCardinality(String), String),
                warnings Array(LowCardinality(String)), parts Array(Nullable(Int32)), is_met Bool,
                window_start DateTime('UTC'), day Date, incarnation UInt8,
                mode Enum8('on' = 1, 'off' = 2)
            ) ENGINE = MergeTree ORDER BY (user_id, event_time) COMMENT 'Events of this check'
            """;

    private interface Check {
        void run(Connection connection) throws Exception;
    }

    private static boolean hasFailed = false;

    public static void main(String[] arguments) throws Exception {
        try (Connection owner = connect("millrace", "CLICKHOUSE_PASSWORD", "millrace")) {
            check("jdbc handshake", owner, Conformance::handshake);
            check("jdbc rows come back as they went in", owner, Conformance::roundTrip);
            check("jdbc every column type", owner, Conformance::types);
            check("jdbc parameters", owner, Conformance::parameters);
            check("jdbc a large result", owner, Conformance::largeResult);
            check("jdbc error codes", owner, Conformance::errorCodes);
            check("jdbc an error in the middle of a result", owner, Conformance::lateError);
            check("jdbc cancel", owner, Conformance::cancel);
            check("jdbc tables, columns and schemas", owner, Conformance::metadata);
        }
        try (Connection reader = connect("reader", "CLICKHOUSE_READER_PASSWORD", "analytics")) {
            check("jdbc reader reads a mart", reader, Conformance::readsMart);
            check("jdbc reader is refused", reader, Conformance::isRefused);
            check("jdbc reader sees marts alone", reader, Conformance::seesMarts);
        }
        System.exit(hasFailed ? 1 : 0);
    }

    private static Connection connect(String account, String variable, String database)
            throws SQLException {
        String url = "jdbc:clickhouse://" + System.getenv("CLICKHOUSE_HTTP_ADDRESS") + "/" + database;
        return DriverManager.getConnection(url, account, System.getenv(variable));
    }

    private static void check(String name, Connection connection, Check check) {
        try {
            check.run(connection);
            System.out.println("ok " + name);
        } catch (Exception | AssertionError error) {
            hasFailed = true;
            System.out.println("failed " + name + ": " + error);
            error.printStackTrace();
        }
    }

    private static void equal(Object expected, Object found) {
        if (!Objects.deepEquals(expected, found)) {
            throw new AssertionError("expected " + expected + ", got " + found);
        }
    }

    private static UUID id(int i) {
        return UUID.nameUUIDFromBytes(new byte[] {(byte) i, (byte) (i >> 8), (byte) (i >> 16)});
    }

    private static void handshake(Connection connection) throws SQLException {
        equal(true, connection.isValid(5));
        DatabaseMetaData data = connection.getMetaData();
        equal("ClickHouse", data.getDatabaseProductName());
        equal(true, data.getDatabaseMajorVersion() >= 26);
    }

    private static void roundTrip(Connection connection) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            statement.execute(TABLE);
        }
        String insert =
                "INSERT INTO jdbc_events (event_id, event_time, event_type, user_id, score, is_met, "
                        + "window_start, day, incarnation, mode) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
        try (PreparedStatement row = connection.prepareStatement(insert)) {
            for (int i = 0; i < ROWS; i++) {
                LocalDateTime at = LocalDateTime.ofInstant(FIRST.plusSeconds(i), ZoneOffset.UTC);
                row.setObject(1, id(i));
                row.setTimestamp(2, Timestamp.from(FIRST.plusSeconds(i)));
                row.setString(3, i % 2 == 0 ? "view" : "ä\t'\\?");
                row.setLong(4, i);
                row.setObject(5, i % 2 == 0 ? i / 3.0 : null);
                row.setBoolean(6, i % 3 == 0);
                row.setObject(7, at.withNano(0));
                row.setObject(8, at.toLocalDate());
                row.setInt(9, i % 256);
                row.setString(10, i % 2 == 0 ? "on" : "off");
                row.addBatch();
            }
            row.executeBatch();
        }
        try (Statement statement = connection.createStatement();
                ResultSet rows = statement.executeQuery("SELECT * FROM jdbc_events ORDER BY user_id")) {
            for (int i = 0; i < ROWS; i++) {
                equal(true, rows.next());
                equal(id(i), rows.getObject("event_id"));
                equal(FIRST.plusSeconds(i), rows.getTimestamp("event_time").toInstant());
                equal(i % 2 == 0 ? "view" : "ä\t'\\?", rows.getString("event_type"));
                equal((long) i, rows.getLong("user_id"));
                equal(i % 2 == 0 ? i / 3.0 : null, rows.getObject("score"));
                equal(i % 3 == 0, rows.getBoolean("is_met"));
                equal(i % 256, rows.getInt("incarnation"));
                equal(i % 2 == 0 ? "on" : "off", rows.getString("mode"));
                LocalDate day = LocalDate.ofInstant(FIRST.plusSeconds(i), ZoneOffset.UTC);
                equal(day, rows.getObject("day", LocalDate.class));
            }
            equal(false, rows.next());
        }
    }

    private static void types(Connection connection) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            statement.execute(TABLE);
            equal(
                    1,
                    statement.executeUpdate(
                            "INSERT INTO jdbc_events (user_id, properties, warnings, parts) VALUES "
                                    + "(18446744073709551615, {'a': 'ä', 'b': ''}, ['x', ''], [-1, NULL])"));
            try (ResultSet row = statement.executeQuery("SELECT * FROM jdbc_events")) {
                equal(true, row.next());
                equal("18446744073709551615", row.getObject("user_id").toString());
                equal("18446744073709551615", row.getString("user_id"));
                Map<?, ?> properties = (Map<?, ?>) row.getObject("properties");
                equal(Map.of("a", "ä", "b", ""), new TreeMap<>(properties));
                equal(new String[] {"x", ""}, strings(row, "warnings"));
                equal(new String[] {"-1", "null"}, strings(row, "parts"));
                equal(null, row.getObject("score"));
                equal(true, row.wasNull());
            }
        }
    }

    private static String[] strings(ResultSet row, String column) throws SQLException {
        return Arrays.stream((Object[]) row.getArray(column).getArray())
                .map(String::valueOf)
                .toArray(String[]::new);
    }

    private static void parameters(Connection connection) throws SQLException {
        String sql = "SELECT ?, length(?), ? + 1, toDate(?), ? IS NULL, '?' -- ?";
        try (PreparedStatement statement = connection.prepareStatement(sql)) {
            statement.setString(1, "it's\t\\'ä\n?");
            statement.setString(2, "x".repeat(200_000));
            statement.setLong(3, 41);
            statement.setObject(4, LocalDate.of(2024, 2, 29));
            statement.setObject(5, null);
            try (ResultSet row = statement.executeQuery()) {
                equal(true, row.next());
                equal("it's\t\\'ä\n?", row.getString(1));
                equal(200_000, row.getInt(2));
                equal(42L, row.getLong(3));
                equal("2024-02-29", row.getString(4));
                equal(true, row.getBoolean(5));
                equal("?", row.getString(6));
            }
        }
    }

    private static void largeResult(Connection connection) throws SQLException {
        String sql = "SELECT number, toString(number) FROM numbers(1000000)";
        try (Statement statement = connection.createStatement();
                ResultSet rows = statement.executeQuery(sql)) {
            long sum = 0;
            while (rows.next()) {
                sum += rows.getLong(1);
            }
            equal(499_999_500_000L, sum);
        }
    }

    private static void errorCodes(Connection connection) {
        refused(connection, "SELECT * FROM nope", UNKNOWN_TABLE);
        refused(connection, "SELECT (1", SYNTAX_ERROR);
    }

    private static void refused(Connection connection, String sql, int code) {
        try (Statement statement = connection.createStatement()) {
            statement.execute(sql);
        } catch (SQLException error) {
            equal(sql + ": " + code, sql + ": " + error.getErrorCode());
            return;
        }
        throw new AssertionError("it was not refused: " + sql);
    }

    private static void lateError(Connection connection) {
        String sql = "SELECT number, throwIf(number = 3000000, 'too far') FROM numbers(4000000)";
        try (Statement statement = connection.createStatement();
                ResultSet rows = statement.executeQuery(sql)) {
            while (rows.next()) {}
        } catch (Exception error) {
            return;
        }
        throw new AssertionError("a result that was cut passed as whole");
    }

    private static void cancel(Connection connection) throws Exception {
        String running = "SELECT count() FROM system.processes WHERE query LIKE '/* jdbc */ SELECT sleep(1)%'";
        try (Statement slow = connection.createStatement()) {
            CompletableFuture<Integer> ended =
                    CompletableFuture.supplyAsync(
                            () -> {
                                try {
                                    slow.executeQuery(
                                            "/* jdbc */ SELECT sleep(1) FROM numbers(600)"
                                                    + " SETTINGS max_block_size = 1");
                                    return 0;
                                } catch (SQLException error) {
                                    return error.getErrorCode();
                                }
                            });
            // Killed before it reads, a statement is listed, and yet runs on.
            await(connection, running + " AND read_rows > 0", 1);
            slow.cancel();
            await(connection, running, 0);
            equal(QUERY_WAS_CANCELLED, ended.get());
        }
    }

    private static void await(Connection connection, String sql, int expected) throws Exception {
        for (int tries = 0; tries < 600; tries++) {
            try (Statement statement = connection.createStatement();
                    ResultSet row = statement.executeQuery(sql)) {
                row.next();
                if (row.getInt(1) == expected) {
                    return;
                }
            }
            Thread.sleep(50);
        }
        throw new AssertionError("never " + expected + ": " + sql);
    }

    private static void metadata(Connection connection) throws SQLException {
        DatabaseMetaData data = connection.getMetaData();
        equal(true, column(data.getSchemas(), "TABLE_SCHEM").contains("millrace"));
        equal(
                List.of("jdbc_events"),
                column(data.getTables(null, "millrace", "jdbc%", null), "TABLE_NAME"));
        equal(
                List.of("event_id", "event_time", "event_type", "user_id", "score", "properties",
                        "warnings", "parts", "is_met", "window_start", "day", "incarnation", "mode"),
                column(data.getColumns(null, "millrace", "jdbc_events", null), "COLUMN_NAME"));
        equal(true, column(data.getTypeInfo(), "TYPE_NAME").contains("DateTime64"));
        equal(List.of(), column(data.getPrimaryKeys(null, "millrace", "nope"), "COLUMN_NAME"));
        String sql = "SELECT event_id, score FROM jdbc_events WHERE user_id = ?";
        try (PreparedStatement statement = connection.prepareStatement(sql)) {
            statement.setLong(1, 1);
            // Before it ran, this driver knows no columns: ClickHouse/clickhouse-java issue 3094.
            ResultSetMetaData columns = statement.executeQuery().getMetaData();
            equal(2, columns.getColumnCount());
            equal("event_id", columns.getColumnName(1));
            equal("Nullable(Float64)", columns.getColumnTypeName(2));
            equal(ResultSetMetaData.columnNullable, columns.isNullable(2));
        }
    }

    private static List<String> column(ResultSet rows, String name) throws SQLException {
        try (rows) {
            List<String> values = new ArrayList<>();
            while (rows.next()) {
                values.add(rows.getString(name));
            }
            return values;
        }
    }

    private static void readsMart(Connection connection) throws SQLException {
        try (Statement statement = connection.createStatement();
                ResultSet row = statement.executeQuery("SELECT sum(sessions) FROM daily_sessions")) {
            equal(true, row.next());
            equal(42L, row.getLong(1));
        }
    }

    private static void isRefused(Connection connection) {
        refused(connection, "SELECT * FROM millrace.raw_events", ACCESS_DENIED);
        refused(connection, "SELECT * FROM analytics.stg_events", ACCESS_DENIED);
        refused(connection, "INSERT INTO daily_sessions SELECT today(), 1", ACCESS_DENIED);
        refused(connection, "DROP TABLE daily_sessions", ACCESS_DENIED);
        refused(connection, "SELECT * FROM url('http://127.0.0.1/', 'CSV', 'a String')", ACCESS_DENIED);
    }

    private static void seesMarts(Connection connection) throws SQLException {
        DatabaseMetaData data = connection.getMetaData();
        List<String> tables = column(data.getTables(null, null, "%", null), "TABLE_NAME");
        equal(true, tables.contains("daily_sessions"));
        equal(false, tables.contains("raw_events") || tables.contains("stg_events"));
        equal(
                List.of("day", "sessions"),
                column(data.getColumns(null, "analytics", "daily_sessions", null), "COLUMN_NAME"));
        equal(List.of(), column(data.getColumns(null, "millrace", "%", null), "COLUMN_NAME"));
    }
}
