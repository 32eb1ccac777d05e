// An endpoint on Java's own TLS 1.3 and DTLS 1.2 (SSLEngine). It says one line and prints what it gets; the client closes
// after an answer. Arguments: client or server, atls (TLS) or adtls (DTLS), our certificate, its key (PKCS 8), the
// certificate that the other end's must come from (all PEM), the other end's name in its certificate, the line.
// Alone it stands behind a relay. With https://HOST:PORT, the gateway's authority, a file with our token, and as client
// an alias, it speaks HTTP itself.

import java.io.*;
import java.nio.ByteBuffer;
import java.nio.file.*;
import java.security.*;
import java.security.cert.*;
import java.security.cert.Certificate;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.*;
import javax.net.ssl.*;
import javax.net.ssl.SSLEngineResult.*;

public class TlsEndpoint {
    static final ByteBuffer EMPTY = ByteBuffer.allocate(0);
    static final int LONGEST = 1152; // the gateway's limit for datagrams
    static final int PIECE = 4096; // and for pieces of a stream

    final SSLEngine engine;
    final Carriage carriage;
    final boolean stream;
    final ByteBuffer plain = ByteBuffer.allocate(65536), out = ByteBuffer.allocate(65536);
    ByteBuffer in = EMPTY;
    boolean established, spoken, closed;

    TlsEndpoint(SSLEngine engine, Carriage carriage, boolean stream) {
        this.engine = engine;
        this.carriage = carriage;
        this.stream = stream;
    }

    public static void main(String[] args) throws Exception {
        boolean client = args[0].equals("client"), stream = args[1].equals("atls");
        SSLContext context = SSLContext.getInstance(stream ? "TLSv1.3" : "DTLSv1.2");
        context.init(keys(args[2], args[3]), trust(args[4]), null);
        SSLEngine engine = context.createSSLEngine(args[5], 0);
        engine.setUseClientMode(client);
        SSLParameters parameters = engine.getSSLParameters();
        parameters.setNeedClientAuth(true);
        parameters.setMaximumPacketSize(stream ? 0 : LONGEST);
        engine.setSSLParameters(parameters);
        Carriage carriage = new Carriage.Pipe();
        if (args.length > 7) {
            SSLContext web = SSLContext.getInstance("TLS");
            web.init(null, trust(args[8]), null);
            carriage = new HttpCarriage(args[7], web, Path.of(args[9]), args[1], args.length > 10 ? args[10] : null);
        }
        new TlsEndpoint(engine, carriage, stream).run(args[5], args[6], client);
    }

    void run(String peer, String line, boolean client) throws Exception {
        engine.beginHandshake();
        long silence = 2000;
        while (!closed) {
            drive();
            if (established && !spoken) {
                spoken = true;
                if (!names().contains(peer)) throw new SSLException("the other end is " + names());
                System.err.println("established: " + engine.getSession().getProtocol());
                ByteBuffer said = ByteBuffer.wrap((line + "\n").getBytes());
                while (said.hasRemaining()) wrap(said);
            }
            byte[] unit = carriage.receive(established ? 60_000 : silence);
            if (unit == null) break;
            if (unit.length > 0) unwrap(unit);
            else if (!stream && !established) {
                wrap(EMPTY); // the last flight again: in DTLS that is ours to do
                silence = Math.min(2 * silence, 60_000);
            }
            int end = new String(plain.array(), 0, plain.position()).indexOf("\n");
            if (end >= 0) {
                System.err.println("heard: " + new String(plain.array(), 0, end));
                plain.clear();
                if (client) break;
            }
        }
        if (!client && !closed) throw new SSLException("cut off without close_notify");
        engine.closeOutbound();
        while (!engine.isOutboundDone()) wrap(EMPTY);
        carriage.close();
        System.err.println("ended");
    }

    /** Whatever the engine wants before it can go on with the other end's octets. */
    void drive() throws Exception {
        while (true) {
            switch (engine.getHandshakeStatus()) {
                case NEED_TASK -> engine.getDelegatedTask().run();
                case NEED_WRAP -> wrap(EMPTY);
                case NEED_UNWRAP_AGAIN -> look(engine.unwrap(EMPTY, plain)); // DTLS: it kept records that came early
                default -> {
                    return;
                }
            }
        }
    }

    /** Each call makes one record; of DTLS that is one datagram. */
    void wrap(ByteBuffer from) throws Exception {
        look(engine.wrap(from, out.clear()));
        out.flip();
        while (out.hasRemaining()) {
            byte[] unit = new byte[stream ? Math.min(PIECE, out.remaining()) : out.remaining()];
            out.get(unit);
            carriage.send(unit);
        }
    }

    /** A unit of a stream may end within a record: the rest of it comes with the next ones. */
    void unwrap(byte[] unit) throws Exception {
        ByteBuffer all = ByteBuffer.allocate(in.remaining() + unit.length).put(in).put(unit).flip();
        while (all.hasRemaining()) {
            SSLEngineResult result = look(engine.unwrap(all, plain));
            drive();
            if (result.getStatus() != Status.OK || (result.bytesConsumed() == 0 && result.bytesProduced() == 0)) break;
        }
        in = stream ? all : EMPTY;
    }

    /** TLS 1.3 says FINISHED once more for each ticket: only the first one is the handshake's. */
    SSLEngineResult look(SSLEngineResult result) {
        established |= result.getHandshakeStatus() == HandshakeStatus.FINISHED;
        closed |= result.getStatus() == Status.CLOSED && engine.isInboundDone();
        return result;
    }

    /** The DNS names in the certificate that the other end has proven. */
    List<String> names() throws Exception {
        X509Certificate proven = (X509Certificate) engine.getSession().getPeerCertificates()[0];
        List<String> found = new ArrayList<>();
        for (List<?> name : proven.getSubjectAlternativeNames()) {
            if (name.get(0).equals(2)) found.add((String) name.get(1));
        }
        return found;
    }

    static KeyManager[] keys(String certificate, String key) throws Exception {
        String base64 = Files.readString(Path.of(key)).replaceAll("-----[^-]+-----", "");
        var octets = new PKCS8EncodedKeySpec(Base64.getMimeDecoder().decode(base64));
        KeyStore store = KeyStore.getInstance("PKCS12");
        store.load(null, null);
        store.setKeyEntry("own", KeyFactory.getInstance("EC").generatePrivate(octets), new char[0], read(certificate));
        KeyManagerFactory factory = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
        factory.init(store, new char[0]);
        return factory.getKeyManagers();
    }

    static TrustManager[] trust(String anchors) throws Exception {
        KeyStore store = KeyStore.getInstance("PKCS12");
        store.load(null, null);
        for (Certificate each : read(anchors)) store.setCertificateEntry(each.toString(), each);
        TrustManagerFactory factory = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        factory.init(store);
        return factory.getTrustManagers();
    }

    static Certificate[] read(String file) throws Exception {
        try (InputStream stream = Files.newInputStream(Path.of(file))) {
            return CertificateFactory.getInstance("X.509").generateCertificates(stream).toArray(new Certificate[0]);
        }
    }
}
