# The application behind Puma. It keeps a list of what was asked of it.
require "zlib"

ASKED = Queue.new

run lambda { |env|
  ASKED << "#{env["REQUEST_METHOD"]} #{env["REQUEST_URI"]}"
  case env["PATH_INFO"]
  when "/page"
    body = "<!doctype html><title>A page</title>"
    [200, { "Content-Type" => "text/html", "Content-Length" => body.bytesize.to_s }, [body]]
  when "/upload"
    size, crc = 0, 0
    while (piece = env["rack.input"].read(1 << 16))
      size += piece.bytesize
      crc = Zlib.crc32(piece, crc)
    end
    [200, { "Content-Type" => "text/plain" }, [format("%d %08x", size, crc)]]
  when "/asked"
    list = []
    list << ASKED.pop until ASKED.empty?
    [200, { "Content-Type" => "text/plain" }, list.map { |line| "#{line}\n" }]
  else
    [404, { "Content-Type" => "text/plain" }, ["no\r\n"]]
  end
}
