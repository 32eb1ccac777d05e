// A carriage over HTTP with java.net.http: requests to the gateway, without a relay.

import java.io.IOException;
import java.net.URI;
import java.net.http.*;
import java.nio.file.*;
import java.security.SecureRandom;
import java.time.Duration;
import java.util.HexFormat;
import java.util.concurrent.*;
import java.util.regex.*;
import javax.net.ssl.SSLContext;

class HttpCarriage implements Carriage {
    private final HttpClient client;
    private final String gateway, token, mediaType;
    private final URI place;
    private final BlockingQueue<byte[]> came = new LinkedBlockingQueue<>();
    private long next, sent;
    private volatile boolean over;

    /** Opens a session to alias; null: waits for one in the inbox. gateway: https://HOST:PORT. */
    HttpCarriage(String gateway, SSLContext trust, Path token, String kind, String alias) throws Exception {
        client = HttpClient.newBuilder().sslContext(trust).version(HttpClient.Version.HTTP_1_1).build();
        this.gateway = gateway;
        this.token = Files.readString(token).strip();
        mediaType = "application/" + kind;
        place = alias == null ? awaited(kind) : opened(alias);
        Thread reader = new Thread(this::read);
        reader.setDaemon(true);
        reader.start();
    }

    private URI opened(String alias) throws Exception {
        byte[] nonce = new byte[16];
        new SecureRandom().nextBytes(nonce);
        URI target = URI.create(gateway + "/atls?to=" + alias + "&nonce=" + HexFormat.of().formatHex(nonce));
        HttpResponse<byte[]> answer = ask("POST", target, NOTHING, "Content-Type", mediaType);
        if (answer.statusCode() != 200) throw new IOException("refused: " + answer.statusCode());
        return target.resolve(answer.headers().firstValue("Location").orElseThrow());
    }

    /** Each object of the list has session, kind and from; the JDK has no reader for JSON. */
    private URI awaited(String kind) throws Exception {
        URI inbox = URI.create(gateway + "/atls/inbox");
        Pattern one = Pattern.compile("\\{[^}]*\"session\" *: *\"([0-9a-f]{32})\"[^}]*\\}");
        System.err.println("waiting");
        while (true) {
            Matcher found = one.matcher(new String(ask("GET", inbox, null, "Prefer", "wait=20").body()));
            while (found.find()) {
                if (found.group().contains('"' + kind + '"')) return inbox.resolve("/atls/" + found.group(1));
            }
        }
    }

    /** A request without an answer is repeated, which the numbers of units make harmless. */
    private HttpResponse<byte[]> ask(String method, URI target, byte[] body, String... fields) throws Exception {
        var octets = body == null ? HttpRequest.BodyPublishers.noBody() : HttpRequest.BodyPublishers.ofByteArray(body);
        HttpRequest request = HttpRequest.newBuilder(target).method(method, octets).headers(fields)
            .header("Authorization", "Bearer " + token).timeout(Duration.ofSeconds(40)).build();
        for (int pause = 100;; pause *= 2) {
            try {
                return client.send(request, HttpResponse.BodyHandlers.ofByteArray());
            } catch (IOException lost) {
                if (pause > 5000) throw lost;
                Thread.sleep(pause);
            }
        }
    }

    /** A unit counts once, whichever request it answers, and however often. */
    private synchronized void take(HttpResponse<byte[]> answer) {
        if (answer.headers().firstValue("ATLS-Seq").orElse("").equals(Long.toString(next))) {
            came.add(answer.body());
            next++;
        }
    }

    private void read() {
        try {
            while (!over) {
                String from = Long.toString(next);
                HttpResponse<byte[]> answer = ask("POST", place, NOTHING, "ATLS-Seq", from, "Prefer", "wait=20");
                if (answer.statusCode() == 200) take(answer);
                else if (!patient(answer)) break;
            }
        } catch (Exception lost) {
            System.err.println(lost);
        }
        came.add(NOTHING);
    }

    /** Waits as long as the gateway asks for; whether it asks at all. */
    private static boolean patient(HttpResponse<byte[]> answer) throws InterruptedException {
        if (answer.statusCode() != 429 && answer.statusCode() != 503) return false;
        Thread.sleep(1000 * answer.headers().firstValueAsLong("Retry-After").orElse(1));
        return true;
    }

    public void send(byte[] unit) throws Exception {
        String n = Long.toString(sent++);
        HttpResponse<byte[]> answer;
        do answer = ask("POST", place, unit, "ATLS-Seq", n, "Content-Type", mediaType);
        while (patient(answer));
        if (answer.statusCode() == 200) take(answer); // else it is lost, as a datagram may be
    }

    public byte[] receive(long milliseconds) throws InterruptedException {
        if (over) return null;
        byte[] unit = came.poll(milliseconds, TimeUnit.MILLISECONDS);
        if (unit == null) return NOTHING;
        over = unit.length == 0;
        return over ? null : unit;
    }

    public void close() throws Exception {
        over = true;
        ask("DELETE", place, null, "Accept", "application/json");
    }
}
