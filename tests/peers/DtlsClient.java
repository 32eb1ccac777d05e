// A DTLS 1.2 client of Java's own stack (SSLEngine, JSSE): PORT CERTIFICATE KEY ANCHOR PACKET-SIZE WAIT-MS ALPN-NAMES.
// Certificate, key (PKCS 8) and anchor are DER files; packet size 0: as Java chooses. It repeats its flight when it has
// waited WAIT-MS for an answer. Says what it sent, then sends a line, prints the answer and closes.
// Shape of the loop: the documentation of SSLEngine, and how JEP 219 says that retransmission is driven (by wrap).

import java.net.*;
import java.nio.ByteBuffer;
import java.nio.file.*;
import java.security.*;
import java.security.cert.*;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.Arrays;
import javax.net.ssl.*;
import javax.net.ssl.SSLEngineResult.HandshakeStatus;

public class DtlsClient {
    static DatagramSocket socket;
    static SSLEngine engine;
    static int largest, datagrams;

    public static void main(String[] args) throws Exception {
        int port = Integer.parseInt(args[0]), size = Integer.parseInt(args[4]), names = Integer.parseInt(args[6]);
        SSLContext context = SSLContext.getInstance("DTLSv1.2");
        context.init(keys(args[1], args[2]), anchors(args[3]), null);
        engine = context.createSSLEngine("svc.example", port);
        engine.setUseClientMode(true);
        SSLParameters parameters = engine.getSSLParameters();
        if (size > 0) parameters.setMaximumPacketSize(size);
        String[] offered = new String[names];
        for (int i = 0; i < names; i++) offered[i] = "a-rather-long-protocol-name-" + i;
        parameters.setApplicationProtocols(offered);
        engine.setSSLParameters(parameters);
        socket = new DatagramSocket();
        socket.connect(InetAddress.getLoopbackAddress(), port);
        socket.setSoTimeout(Integer.parseInt(args[5]));

        ByteBuffer plain = ByteBuffer.allocate(32768);
        engine.beginHandshake();
        while (engine.getSession().getCipherSuite().contains("NULL") || handshaking()) {
            send();
            if (!handshaking()) break;
            try {
                receive(plain);
            } catch (SocketTimeoutException silence) {
                repeat();
            }
        }
        System.out.println("connected " + engine.getSession().getCipherSuite());
        System.out.println("sent " + datagrams + " largest " + largest);
        byte[] line = "hello from java".getBytes();
        wrap(ByteBuffer.wrap(line));
        plain.clear();
        while (plain.position() == 0) receive(plain);
        System.out.println("answer " + new String(plain.array(), 0, plain.position()));
        engine.closeOutbound();
        wrap(ByteBuffer.allocate(0));
    }

    static boolean handshaking() {
        HandshakeStatus status = engine.getHandshakeStatus();
        return status != HandshakeStatus.NOT_HANDSHAKING && status != HandshakeStatus.FINISHED;
    }

    /** Whatever the engine wants to send or compute. */
    static void send() throws Exception {
        while (true) {
            switch (engine.getHandshakeStatus()) {
                case NEED_TASK -> {
                    Runnable task;
                    while ((task = engine.getDelegatedTask()) != null) task.run();
                }
                case NEED_WRAP -> wrap(ByteBuffer.allocate(0));
                default -> {
                    return;
                }
            }
        }
    }

    /** The last flight again: wrap does it where nothing else is to be sent. */
    static void repeat() throws Exception {
        wrap(ByteBuffer.allocate(0));
        send();
    }

    static void wrap(ByteBuffer from) throws Exception {
        ByteBuffer out = ByteBuffer.allocate(65536);
        engine.wrap(from, out);
        if (out.position() == 0) return;
        datagrams++;
        largest = Math.max(largest, out.position());
        try {
            socket.send(new DatagramPacket(out.array(), out.position()));
        } catch (PortUnreachableException nobody) {
            // as good as lost
        }
    }

    static void receive(ByteBuffer plain) throws Exception {
        byte[] octets = new byte[65536];
        DatagramPacket packet = new DatagramPacket(octets, octets.length);
        try {
            socket.receive(packet);
        } catch (PortUnreachableException nobody) {
            throw new SocketTimeoutException();
        }
        ByteBuffer in = ByteBuffer.wrap(octets, 0, packet.getLength());
        while (in.hasRemaining()) {
            int before = in.remaining();
            SSLEngineResult result = engine.unwrap(in, plain);
            if (result.getStatus() == SSLEngineResult.Status.CLOSED) return;
            send();
            if (in.remaining() == before) break;
        }
        while (engine.getHandshakeStatus() == HandshakeStatus.NEED_UNWRAP_AGAIN) {
            engine.unwrap(ByteBuffer.allocate(0), plain);
            send();
        }
    }

    static KeyManager[] keys(String certificate, String key) throws Exception {
        PrivateKey secret =
            KeyFactory.getInstance("EC").generatePrivate(new PKCS8EncodedKeySpec(Files.readAllBytes(Path.of(key))));
        KeyStore store = KeyStore.getInstance("PKCS12");
        store.load(null, null);
        store.setKeyEntry("own", secret, new char[0], new java.security.cert.Certificate[] {read(certificate)});
        KeyManagerFactory factory = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
        factory.init(store, new char[0]);
        return factory.getKeyManagers();
    }

    static TrustManager[] anchors(String anchor) throws Exception {
        KeyStore store = KeyStore.getInstance("PKCS12");
        store.load(null, null);
        store.setCertificateEntry("anchor", read(anchor));
        TrustManagerFactory factory = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        factory.init(store);
        return factory.getTrustManagers();
    }

    static java.security.cert.Certificate read(String file) throws Exception {
        try (var stream = Files.newInputStream(Path.of(file))) {
            return CertificateFactory.getInstance("X.509").generateCertificate(stream);
        }
    }
}
